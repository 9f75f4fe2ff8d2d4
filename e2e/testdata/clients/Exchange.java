import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;

/**
 * Sends requests with the JDK's HTTP client, as an application does that sets no version:
 * the client then offers h2c with every cleartext request.
 *
 * Each argument is one request: METHOD URL CONTENT-TYPE AUTHORIZATION FILE, with spaces
 * between them and "-" for none. Each answer is printed as its status, the session ID and
 * the body, then a line of three hyphens.
 */
class Exchange {
    public static void main(String[] requests) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String text : requests) {
            String[] fields = text.split(" ");
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(fields[1]));
            request.method(fields[0], fields[4].equals("-") ? BodyPublishers.noBody() : BodyPublishers.ofFile(Path.of(fields[4])));
            if (!fields[2].equals("-")) {
                request.header("Content-Type", fields[2]);
            }
            if (!fields[3].equals("-")) {
                request.header("Authorization", "Bearer " + fields[3]);
            }
            HttpResponse<String> answer = client.send(request.build(), BodyHandlers.ofString());
            System.out.print(answer.statusCode() + " " + answer.headers().firstValue("X-Session-ID").orElse("-") + "\n"
                + answer.body() + "\n---\n");
        }
    }
}
