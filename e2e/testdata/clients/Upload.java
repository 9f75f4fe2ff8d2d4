import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Collections;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Uploads zeros: URL BYTES CA-FILE VERSION. Prints the status, the session ID and the body. */
class Upload {
    public static void main(String[] args) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null, null);
        try (InputStream ca = Files.newInputStream(Path.of(args[2]))) {
            trusted.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(ca));
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(trusted);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, managers.getTrustManagers(), null);

        byte[] chunk = new byte[64 << 10];
        Iterable<byte[]> chunks = Collections.nCopies(Integer.parseInt(args[1]) / chunk.length, chunk);
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.valueOf(args[3])).sslContext(tls).build();
        HttpResponse<String> answer = client.send(
            HttpRequest.newBuilder(URI.create(args[0])).POST(BodyPublishers.ofByteArrays(chunks)).build(), BodyHandlers.ofString());
        System.out.print(answer.statusCode() + " " + answer.headers().firstValue("X-Session-ID").orElse("-") + "\n" + answer.body());
    }
}
