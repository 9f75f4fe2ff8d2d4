import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;

/** Uploads a form as programs do that write it by hand on a Japanese Windows: Upload.java URL KEY. */
class Upload {
    public static void main(String[] args) throws Exception {
        Charset windows = Charset.forName("windows-31j");
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        String part = "--AaB03x\r\nContent-Disposition: form-data; ";
        body.write((part + "name=\"u\"\r\nContent-Type: multipart/form-data\r\n\r\n" + args[1] + "\r\n").getBytes(StandardCharsets.US_ASCII));
        body.write((part + "name=\"d\"\r\n\r\n-a-general\tx\r\n").getBytes(StandardCharsets.US_ASCII));
        body.write((part + "filename=\"C:\\予算\\能力表\"; name=\"a\"\r\n\r\nRIFF and so on\r\n--AaB03x--\r\n").getBytes(windows));
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
            .header("Content-Type", "multipart/form-data; boundary=AaB03x")
            .POST(HttpRequest.BodyPublishers.ofByteArray(body.toByteArray())).build();
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        System.out.print(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
    }
}
