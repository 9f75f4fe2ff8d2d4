<?php // Reads queries as PHP does. otherparsers_test.go describes the lines.
function flatten($value) {
    return is_array($value) ? array_merge([], ...array_map('flatten', array_values($value))) : [(string)$value];
}
while (($line = fgets(STDIN)) !== false) {
    [$kind, $arg] = explode(' ', rtrim($line, "\n")) + [1 => ''];
    $text = hex2bin($arg);
    $out = [];
    if ($kind === 'query') {
        parse_str($text, $found);
        foreach ($found as $name => $value) {
            foreach (flatten($value) as $v) {
                $out[] = bin2hex($name) . '=' . bin2hex($v);
            }
        }
    } elseif ($kind === 'pairs') {
        foreach (preg_split('/\s+/', $text) as $token) {
            $pair = explode('=', rawurldecode($token), 2);
            if (count($pair) === 2 && strcasecmp($pair[0], 'authorization') === 0) {
                $out[] = bin2hex('authorization') . '=' . bin2hex($pair[1]);
            }
        }
    }
    echo implode(' ', $out), "\n";
}
