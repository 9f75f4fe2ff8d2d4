# Reads requests as CGI.pm does. otherparsers_test.go describes the lines.
use strict;
use warnings;
no warnings qw(once);
use CGI;

$| = 1;
$CGI::LIST_CONTEXT_WARN = 0;

sub form {
    my ($type, $body) = @_;
    CGI::initialize_globals();
    local %ENV = (%ENV, REQUEST_METHOD => 'POST', CONTENT_LENGTH => length($body));
    $type eq '' ? delete $ENV{CONTENT_TYPE} : ($ENV{CONTENT_TYPE} = $type);
    open(my $in, '<', \$body) or die $!;
    local *STDIN = $in;
    return CGI->new;
}

sub contents {
    my ($value) = @_;
    return $value unless ref $value;
    local $/;
    my $text = <$value>;
    return defined $text ? $text : '';
}

open(my $lines, '<&', \*STDIN) or die $!;
while (my $line = <$lines>) {
    chomp $line;
    my ($kind, @args) = split / /, $line, -1;
    @args = map { pack 'H*', $_ } @args;
    my @out;
    eval {
        if ($kind eq 'pairs') {
            for my $token (split ' ', $args[0]) {
                my ($name, $value) = split /=/, CGI::unescape($token), 2;
                push @out, unpack('H*', 'authorization') . '=' . unpack('H*', $value) if defined $value && lc $name eq 'authorization';
            }
        } else {
            my $q = $kind eq 'query' ? CGI->new($args[0]) : form(@args);
            for my $name ($q->param) {
                push @out, unpack('H*', $name) . '=' . unpack('H*', contents($_)) for $q->multi_param($name);
            }
        }
        1;
    } or @out = ();    # a parser that gives up reads no key
    print "@out\n";
}
