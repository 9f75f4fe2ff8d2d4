import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

// Stream recognizes a recording twice on one connection with java.net.http, and
// prints each message that it gets. Its commands are longer than 16 KiB, which
// java.net.http sends in fragments; the last one it cuts by itself, with an empty
// fragment and a Ping between.
//
//	java Stream.java ws://localhost:8080/v1/ <key> speech.wav
public class Stream {
    static final LinkedBlockingQueue<String> messages = new LinkedBlockingQueue<>();

    public static void main(String[] args) throws Exception {
        byte[] speech = Files.readAllBytes(Path.of(args[2]));
        StringBuilder words = new StringBuilder();
        for (int i = 0; i < 2500; i++) {
            words.append("単語").append(i).append(" たんご").append(i).append('|');
        }
        String start = "s 16K -a-general authorization=" + args[1] + " profileWords=\"" + words + "\"";
        WebSocket socket = HttpClient.newHttpClient().newWebSocketBuilder()
            .buildAsync(URI.create(args[0]), new Listener()).join();
        socket.sendPing(ByteBuffer.wrap("early".getBytes(StandardCharsets.US_ASCII))).join();
        expect("pong early");

        socket.sendText(start, true).join();
        expect("s");
        feed(socket, speech);

        int half = start.length() / 2;
        socket.sendText("", false).join();
        socket.sendText(start.substring(0, half), false).join();
        socket.sendPing(ByteBuffer.wrap("between".getBytes(StandardCharsets.US_ASCII))).join();
        socket.sendText("", false).join();
        socket.sendText(start.substring(half), false).join();
        socket.sendText("", true).join();
        expect("s");
        feed(socket, speech);
        socket.sendClose(WebSocket.NORMAL_CLOSURE, "").join();
    }

    static void feed(WebSocket socket, byte[] speech) throws Exception {
        for (int at = 0; at < speech.length; at += 4096) {
            ByteBuffer frame = ByteBuffer.allocate(1 + Math.min(4096, speech.length - at));
            frame.put((byte) 'p').put(speech, at, frame.remaining()).flip();
            socket.sendBinary(frame, true).join();
        }
        socket.sendText("e", true).join();
        expect("e");
    }

    // expect reads up to this message.
    static void expect(String want) throws Exception {
        for (;;) {
            String message = messages.poll(20, TimeUnit.SECONDS);
            if (message == null) {
                throw new Exception("nothing comes in place of " + want);
            }
            System.out.println(message);
            if (message.equals(want)) {
                return;
            }
            if (message.startsWith("s ") || message.startsWith("p ") || message.startsWith("e ")) {
                throw new Exception(message + " in place of " + want);
            }
        }
    }

    static class Listener implements WebSocket.Listener {
        private final StringBuilder text = new StringBuilder();

        @Override
        public CompletionStage<?> onText(WebSocket socket, CharSequence data, boolean last) {
            text.append(data);
            if (last) {
                messages.add(text.toString());
                text.setLength(0);
            }
            socket.request(1);
            return null;
        }

        @Override
        public CompletionStage<?> onPong(WebSocket socket, ByteBuffer message) {
            String payload = StandardCharsets.US_ASCII.decode(message).toString();
            if (payload.equals("early")) {
                messages.add("pong " + payload);
            }
            socket.request(1);
            return null;
        }

        @Override
        public void onError(WebSocket socket, Throwable error) {
            messages.add("e " + error);
        }
    }
}
