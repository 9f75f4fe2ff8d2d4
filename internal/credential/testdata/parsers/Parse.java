import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;

/** Reads names as Java's own methods compare them. otherparsers_test.go describes the lines. */
class Parse {
    static String hex(String text) {
        return HexFormat.of().formatHex(text.getBytes(StandardCharsets.UTF_8));
    }

    static boolean same(String name, String want) {
        return name.strip().equalsIgnoreCase(want) || name.toUpperCase().equals(want.toUpperCase()) || name.toLowerCase().equals(want);
    }

    public static void main(String[] args) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split(" ", -1);
            String text = new String(HexFormat.of().parseHex(words.length > 1 ? words[1] : ""), StandardCharsets.UTF_8);
            List<String> out = new ArrayList<>();
            try {
                boolean query = words[0].equals("query");
                for (String item : text.split(query ? "&" : "\\s+")) {
                    String[] pair = query ? item.split("=", 2) : URLDecoder.decode(item, StandardCharsets.UTF_8).split("=", 2);
                    if (pair.length < 2) {
                        continue;
                    }
                    String name = query ? URLDecoder.decode(pair[0], StandardCharsets.UTF_8) : pair[0];
                    String value = query ? URLDecoder.decode(pair[1], StandardCharsets.UTF_8) : pair[1];
                    for (String want : query ? new String[] {"u", "d"} : new String[] {"authorization"}) {
                        if (same(name, want)) {
                            out.add(hex(want) + "=" + hex(value));
                        }
                    }
                }
            } catch (IllegalArgumentException e) {
                out.clear(); // a parser that gives up reads no key
            }
            System.out.println(String.join(" ", out));
        }
    }
}
