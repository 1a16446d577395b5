<?php
// A WebSocket (RFC 6455) with nothing but PHP's streams: what a client of the bus needs of it.

declare(strict_types=1);

final class WebSocket
{
    private const TEXT = 1, CLOSE = 8, PING = 9, PONG = 10;
    private const PING_S = 10, SILENT_S = 20;
    private const MESSAGE_BYTES_MAX = (64 << 20) + (64 << 10);

    /** @var resource */
    private $stream;
    private string $buffer = '';
    /** What has come of a message in several frames. */
    private string $fragments = '';
    private float $heardAt;
    private float $pingedAt;

    /** @param list<string> $headers */
    public function __construct(string $url, array $headers = [])
    {
        ['host' => $host, 'port' => $port] = parse_url($url);
        $stream = @stream_socket_client("tcp://$host:$port", $code, $why, 10);
        $this->stream = $stream ?: throw new RuntimeException("$host:$port: $why");
        $this->heardAt = $this->pingedAt = microtime(true);
        $key = base64_encode(random_bytes(16));
        $head = ["GET / HTTP/1.1", "Host: $host:$port", 'Connection: Upgrade', 'Upgrade: websocket',
            'Sec-WebSocket-Version: 13', "Sec-WebSocket-Key: $key", ...$headers];
        $this->write(implode("\r\n", $head) . "\r\n\r\n");
        while (!str_contains($this->buffer, "\r\n\r\n")) {
            $this->read(10);
        }
        [$answer, $this->buffer] = explode("\r\n\r\n", $this->buffer, 2);
        if (!preg_match('{^HTTP/1\.1 101 }', $answer)) {
            throw new RuntimeException("the engine answered $answer {$this->buffer}");
        }
    }

    /**
     * The messages that have come; waits a second at most.
     *
     * A signal that comes just before the wait does not end it, so the wait is short.
     *
     * @return iterable<string>
     */
    public function hear(): iterable
    {
        $this->read(1);
        $this->keepAlive();
        while ($frame = $this->frame()) {
            [$opcode, $final, $data] = $frame;
            if ($opcode === self::CLOSE) {
                throw new RuntimeException('the engine closed the connection: ' . substr($data, 2));
            } elseif ($opcode === self::PING) {
                $this->send($data, self::PONG);
            } elseif ($opcode !== self::PONG) {
                $this->fragments .= $data;
                if ($final) {
                    yield $this->fragments;
                    $this->fragments = '';
                }
            }
        }
    }

    public function send(string $data, int $opcode = self::TEXT): void
    {
        $length = strlen($data);
        $size = match (true) {
            $length < 126 => pack('C', 128 | $length),
            $length < 1 << 16 => pack('Cn', 128 | 126, $length),
            default => pack('CJ', 128 | 127, $length),
        };
        $mask = random_bytes(4);
        $this->write(chr(128 | $opcode) . $size . $mask . self::masked($data, $mask));
    }

    public function close(): void
    {
        $this->send(pack('n', 1000), self::CLOSE);
        fclose($this->stream);
    }

    /** @return array{int, bool, string}|null opcode, whether it is the message's last, data */
    private function frame(): ?array
    {
        if (strlen($this->buffer) < 2) {
            return null;
        }
        [$first, $length] = [ord($this->buffer[0]), ord($this->buffer[1]) & 127];
        [$format, $offset] = match ($length) { 126 => ['n', 4], 127 => ['J', 10], default => [null, 2] };
        if (strlen($this->buffer) < $offset) {
            return null;
        }
        if ($format !== null) {
            $length = unpack($format, $this->buffer, 2)[1];
        }
        if ($length + strlen($this->fragments) > self::MESSAGE_BYTES_MAX) {
            throw new RuntimeException('the engine sent more than 64 MiB at once');
        }
        if (strlen($this->buffer) < $offset + $length) {
            return null;
        }
        $data = substr($this->buffer, $offset, $length);
        $this->buffer = substr($this->buffer, $offset + $length);
        return [$first & 15, ($first & 128) !== 0, $data];
    }

    private static function masked(string $data, string $mask): string
    {
        return $data ^ str_repeat($mask, intdiv(strlen($data), 4) + 1);
    }

    private function read(int $seconds): void
    {
        [$readable, $none] = [[$this->stream], null];
        // A signal ends the wait, and PHP warns of that.
        if (!@stream_select($readable, $none, $none, $seconds)) {
            return;
        }
        $bytes = fread($this->stream, 1 << 20);
        if ($bytes === false || $bytes === '') {
            throw new RuntimeException('the engine hung up');
        }
        $this->buffer .= $bytes;
        $this->heardAt = microtime(true);
    }

    private function keepAlive(): void
    {
        $now = microtime(true);
        if ($now - $this->heardAt > self::SILENT_S) {
            throw new RuntimeException('no sign of life from the engine');
        }
        if ($now - max($this->heardAt, $this->pingedAt) >= self::PING_S) {
            $this->pingedAt = $now;
            $this->send('', self::PING);
        }
    }

    private function write(string $bytes): void
    {
        while ($bytes !== '') {
            $written = @fwrite($this->stream, $bytes);
            if ($written === false || $written === 0) {
                throw new RuntimeException('the engine hung up');
            }
            $bytes = substr($bytes, $written);
        }
    }
}
