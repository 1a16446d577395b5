# A client of the `agentos.v2` protocol, written from docs/protocol-v2.md. One thread and callbacks:
# a handler answers its call when it likes, and may make calls of its own until then.
package Bus;
use v5.36;
use Encode     ();
use IO::Select ();
use IO::Socket::IP ();
use JSON::PP   ();
use Time::HiRes qw(time sleep);
use Protocol::WebSocket::Frame;
use Protocol::WebSocket::Handshake::Client;

use constant {
    HELLO => 1, WELCOME => 2, REGISTER => 3, REGISTERED => 4,
    CALL => 16, RESULT => 17, ERROR => 18, CANCEL => 21,
    GOODBYE => 32, FAULT => 33, PING => 34, PONG => 35,
};
use constant HEADER            => 'C C S< L< Q<';
use constant DEADLINE_MS       => 30_000;    # of a call that names none
use constant PING_S            => 10;
use constant SILENT_S          => 20;
use constant DRAIN_S           => 10;
use constant MESSAGE_BYTES_MAX => (64 << 20) + (64 << 10);

my $json = JSON::PP->new->utf8->allow_nonref->canonical;

sub new ($class, $name, %more) {
    return bless {
        name      => $name,
        url       => $more{url}   // $ENV{AGENTOS_URL} // 'ws://127.0.0.1:49134',
        token     => $more{token} // $ENV{AGENTOS_TOKEN},
        functions => [],
        handlers  => {},
        number    => 0,
        leaving   => 0,
    }, $class;
}

# `$handler` is given the input and the call, see Bus::Call.
sub function ($self, $id, $description, $handler) {
    push @{ $self->{functions} }, { id => $id, description => $description };
    $self->{handlers}{$id} = $handler;
}

# Serves until SIGTERM or SIGINT, connecting again whenever the connection breaks.
sub run ($self) {
    local $SIG{TERM} = local $SIG{INT} = sub { $self->{leaving} = 1 };
    local $SIG{PIPE} = 'IGNORE';
    my $pause = 0.05;
    until ($self->{leaving}) {
        $self->{welcomed} = 0;
        # A signal may interrupt what is under way; then there is no connection to mourn.
        eval { $self->_serve; 1 } or $self->{leaving} or print STDERR "no connection: $@";
        $pause = $self->{welcomed} ? 0.05 : $pause * 2 > 5 ? 5 : $pause * 2;
        sleep $pause * (0.5 + rand 0.5) unless $self->{leaving};
    }
}

# Calls a function; `$then` is given the result and undef, or undef and the error. The number of the call.
sub trigger ($self, $function, $payload, $timeout_ms, $then) {
    my $number = ++$self->{number};
    $self->{asked}{$number} = $then;
    $self->_say(CALL, id => $number, aux => $timeout_ms, meta => pack('S</a', Encode::encode_utf8($function)), body => $payload);
    return $number;
}

# Gives up on a call: its callee hears of it, we do not hear of its outcome.
sub forget ($self, $number) {
    delete $self->{asked}{$number} and $self->_say(CANCEL, id => $number);
}

# One connection from start to end.
sub _serve ($self) {
    @$self{qw(asked running)} = ({}, {});
    delete $self->{left_at};
    $self->_connect;
    my %hello = (name => $self->{name}, language => 'perl', pid => $$ + 0);
    $hello{token} = $self->{token} if defined $self->{token};
    $self->_say(HELLO, body => \%hello);
    $self->_say(REGISTER, id => 1, body => { functions => $self->{functions} });
    $self->_turn until $self->_drained;
    $self->_send('close', '');
    close $self->{socket};
}

sub _connect ($self) {
    my ($host, $port) = $self->{url} =~ m{^ws://(\[[^\]]+\]|[^:/]+):(\d+)} or die "$self->{url} is no address\n";
    my $socket = $self->{socket} = IO::Socket::IP->new(PeerHost => $host =~ tr/[]//dr, PeerPort => $port, Timeout => 10)
        or die "$host:$port: $@\n";
    my $shake = Protocol::WebSocket::Handshake::Client->new(url => $self->{url});
    $shake->req->subprotocol('agentos.v2');
    $shake->req->fields->{authorization} = "Bearer $self->{token}" if defined $self->{token};
    # The module always says where a page came from; we are no page, and pages must be on a list.
    _write($socket, $shake->to_string =~ s/^Origin:[^\n]*\n//mir);
    my $bytes = '';
    until ($shake->is_done) {
        sysread $socket, $bytes, 4096, length $bytes or die "the engine hung up: $bytes\n";
        # What follows the answer stays in `$bytes`.
        $shake->parse($bytes) or die $shake->error . "\n";
    }
    $self->{frames} = Protocol::WebSocket::Frame->new(max_payload_size => MESSAGE_BYTES_MAX);
    $self->{frames}->append($bytes);
    $self->{heard_at} = $self->{pinged_at} = time;
}

# Hears what has come. Waits a second at most: a signal that comes just before the wait does not end it.
sub _turn ($self) {
    my $frames = $self->{frames};
    if (IO::Select->new($self->{socket})->can_read(1)) {
        sysread $self->{socket}, my $bytes, 1 << 20 or die "the engine hung up\n";
        $frames->append($bytes);
        $self->{heard_at} = time;
    }
    $self->_leave if $self->{leaving} && !$self->{left_at};
    $self->_keep_alive;
    while (defined(my $bytes = $frames->next_bytes)) {
        if    ($frames->is_binary) { $self->_hear($bytes) }
        elsif ($frames->is_ping)   { $self->_send('pong', $bytes) }
        elsif ($frames->is_close)  { die "the engine closed the connection\n" }
    }
}

sub _keep_alive ($self) {
    my $now = time;
    die "no sign of life from the engine\n" if $now - $self->{heard_at} > SILENT_S;
    return if $now - $self->{heard_at} < PING_S || $now - $self->{pinged_at} < PING_S;
    $self->{pinged_at} = $now;
    $self->_send('ping', '');
}

# Nothing new is taken any more: the engine withdraws our functions when it reads this.
sub _leave ($self) {
    $self->{left_at} = time;
    $self->_say(GOODBYE, body => { reason => 'the worker is stopping' });
}

sub _drained ($self) {
    my $since = $self->{left_at} or return 0;
    return !%{ $self->{running} } || time - $since > DRAIN_S;
}

sub _hear ($self, $bytes) {
    my ($kind, undef, $meta_bytes, $aux, $id) = unpack HEADER, $bytes;
    my $meta = substr $bytes, 16, $meta_bytes;
    my $body = length $bytes > 16 + $meta_bytes ? substr($bytes, 16 + $meta_bytes) : '';
    if    ($kind == WELCOME) { $self->{welcomed} = 1 }
    elsif ($kind == CALL)    { $self->_call($id, unpack('S</a', $meta), $aux || DEADLINE_MS, $body) }
    elsif ($kind == CANCEL)  { my $call = delete $self->{running}{$id}; $call->_cancelled if $call }
    elsif ($kind == RESULT)  { $self->_answered($id, _read($body), undef) }
    elsif ($kind == ERROR)   { $self->_answered($id, undef, _read($body)) }
    elsif ($kind == PING)    { $self->_say(PONG) }
    elsif ($kind == FAULT)   { print STDERR "the engine refused a message: ", _read($body)->{message}, "\n" }
    elsif ($kind == REGISTERED) {
        print STDERR "$_->{id} was refused: $_->{error}{message}\n" for @{ _read($body)->{rejected} };
    }
}

sub _call ($self, $id, $function, $timeout_ms, $body) {
    my $call = $self->{running}{$id} = Bus::Call->new($self, $id, time + $timeout_ms / 1000);
    my $handler = $self->{handlers}{ Encode::decode_utf8($function) }
        or return $call->fail('not_found', "no function $function here");
    eval { $handler->(_read($body), $call); 1 } or $call->fail('failed', $@ =~ s/\s+\z//r);
}

sub _answered ($self, $id, $result, $error) {
    my $then = delete $self->{asked}{$id} or return;
    $then->($result, $error);
}

# The one answer of a call; nothing if its caller has gone.
sub _answer ($self, $id, $kind, $body) {
    delete $self->{running}{$id} and $self->_say($kind, id => $id, body => $body);
}

sub _say ($self, $kind, %message) {
    my $meta = $message{meta} // '';
    my $body = exists $message{body} ? $json->encode($message{body}) : '';
    $self->_send('binary', pack(HEADER, $kind, 0, length $meta, $message{aux} // 0, $message{id} // 0) . $meta . $body);
}

sub _send ($self, $type, $bytes) {
    my $frame = Protocol::WebSocket::Frame->new(buffer => $bytes, type => $type, masked => 1, max_payload_size => MESSAGE_BYTES_MAX);
    _write($self->{socket}, $frame->to_bytes);
}

sub _write ($socket, $bytes) {
    while (length $bytes) {
        my $written = syswrite $socket, $bytes;
        if    (defined $written)  { substr $bytes, 0, $written, '' }
        elsif (!$!{EINTR})        { die "$!\n" }
    }
}

sub _read ($body) { return length $body ? $json->decode($body) : undef }

# A call that a handler is answering.
package Bus::Call;

sub new ($class, $bus, $id, $ends_at) {
    return bless { bus => $bus, id => $id, ends_at => $ends_at, asked => {} }, $class;
}

sub ms_left ($self) {
    my $left = int(($self->{ends_at} - Time::HiRes::time()) * 1000);
    return $left > 1 ? $left : 1;
}

sub reply ($self, $result) { $self->{bus}->_answer($self->{id}, Bus::RESULT, $result) }

sub fail ($self, $code, $message, %more) {
    my %error = (code => $code, message => $message, origin => 'worker', retryable => JSON::PP::false, %more);
    $self->{bus}->_answer($self->{id}, Bus::ERROR, \%error);
}

# Passes somebody else's error on.
sub fail_with ($self, $error) { $self->{bus}->_answer($self->{id}, Bus::ERROR, $error) }

# Calls another function with what is left of this call's time.
sub trigger ($self, $function, $payload, $then) {
    my $asked = $self->{asked};
    my $number;
    $number = $self->{bus}->trigger($function, $payload, $self->ms_left, sub { delete $asked->{$number}; $then->(@_) });
    $asked->{$number} = 1;
}

# The caller has gone, so nobody waits for what was asked on its behalf.
sub _cancelled ($self) { $self->{bus}->forget($_) for keys %{ $self->{asked} } }

1;
