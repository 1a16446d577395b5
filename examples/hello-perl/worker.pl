#!/usr/bin/env perl
# A worker without an SDK. Run `agentos start` first; then: AGENTOS_TOKEN=$(agentos token) perl worker.pl
use v5.36;
use FindBin;
use lib $FindBin::Bin;
use Bus;

my $bus = Bus->new('hello-perl');

$bus->function('hello-perl::greet', 'Greets somebody.', sub ($input, $call) {
    my $name = ref $input eq 'HASH' ? $input->{name} : undef;
    return $call->fail('invalid_input', 'name: expected a string', origin => 'caller') unless defined $name;
    $call->reply("hello $name");
});

# Calls the function it is told to, within the time that its own caller has left.
$bus->function('hello-perl::ask', 'Calls another function.', sub ($input, $call) {
    $call->trigger($input->{function}, $input->{payload}, sub ($result, $error) {
        return $call->fail_with($error) if $error;
        $call->reply({ answer => $result });
    });
});

$bus->run;
