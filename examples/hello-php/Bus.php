<?php
// A client of the JSON dialect, written from docs/json-dialect.md. One thread; every call is answered
// in a fiber, so that a handler may wait for a call of its own while others run.

declare(strict_types=1);

require_once __DIR__ . '/WebSocket.php';

/** What a call ends with when it does not succeed, in both directions. */
final class Failure extends RuntimeException
{
    public function __construct(public readonly string $name, string $message)
    {
        parent::__construct($message);
    }
}

final class Bus
{
    private const DRAIN_S = 10;
    /** The dialect knows no deadlines: a caller keeps its own. */
    private const CALL_S = 30;

    private ?WebSocket $socket = null;
    /** @var array<string, array{description: string, handler: callable}> by id */
    private array $functions = [];
    /** @var array<string, Fiber> who answers a call, by the call's id */
    private array $running = [];
    /** @var array<string, array{Fiber, float}> who waits for a call of ours, and how long, by its id */
    private array $asked = [];
    private bool $welcomed = false;
    private bool $leaving = false;
    private ?float $leftAt = null;

    public function __construct(private readonly string $name, private ?string $url = null, private ?string $token = null)
    {
        $this->url ??= getenv('AGENTOS_URL') ?: 'ws://127.0.0.1:49134';
        $this->token ??= getenv('AGENTOS_TOKEN') ?: null;
    }

    public function function(string $id, string $description, callable $handler): void
    {
        $this->functions[$id] = ['description' => $description, 'handler' => $handler];
    }

    /** Serves until SIGTERM or SIGINT, connecting again whenever the connection breaks. */
    public function run(): void
    {
        pcntl_async_signals(true);
        $leave = function (): void { $this->leaving = true; };
        pcntl_signal(SIGTERM, $leave);
        pcntl_signal(SIGINT, $leave);
        $pause = 50_000;
        while (!$this->leaving) {
            try {
                $this->serve();
            } catch (RuntimeException $error) {
                fwrite(STDERR, "no connection: {$error->getMessage()}\n");
            }
            $pause = $this->welcomed ? 50_000 : min($pause * 2, 5_000_000);
            if (!$this->leaving) {
                usleep(random_int(intdiv($pause, 2), $pause)); // a signal ends it
            }
        }
    }

    /** Waits, in a handler's fiber, for the result of a call. */
    public function trigger(string $function, mixed $payload): mixed
    {
        $id = self::uuid();
        $this->asked[$id] = [Fiber::getCurrent(), microtime(true) + self::CALL_S];
        $this->say(['type' => 'invokefunction', 'invocation_id' => $id, 'function_id' => $function, 'data' => $payload]);
        $answer = Fiber::suspend();
        if ($error = $answer->error ?? null) {
            throw new Failure($error->code, $error->message);
        }
        return $answer->result ?? null;
    }

    /** One connection from start to end. */
    private function serve(): void
    {
        [$this->running, $this->asked, $this->leftAt, $this->welcomed] = [[], [], null, false];
        $this->socket = new WebSocket($this->url, $this->token === null ? [] : ["Authorization: Bearer $this->token"]);
        $about = ['name' => $this->name, 'runtime' => 'php', 'pid' => getmypid()];
        $this->say(['type' => 'invokefunction', 'function_id' => 'engine::workers::register', 'data' => $about,
            'action' => ['type' => 'void']]);
        foreach ($this->functions as $id => ['description' => $description]) {
            $this->say(['type' => 'registerfunction', 'id' => $id, 'description' => $description]);
        }
        while (!$this->drained()) {
            foreach ($this->socket->hear() as $message) {
                $this->on(json_decode($message, flags: JSON_THROW_ON_ERROR));
            }
            $this->expire();
            if ($this->leaving && $this->leftAt === null) {
                $this->leave();
            }
        }
        $this->socket->close();
    }

    private function on(object $message): void
    {
        match ($message->type) {
            'workerregistered' => $this->welcomed = true,
            'invokefunction' => $this->call($message),
            'invocationresult' => $this->answered($message),
            'ping' => $this->say(['type' => 'pong']),
            'error' => throw new RuntimeException($message->error->message),
            default => null, // There may be more in future.
        };
    }

    private function call(object $call): void
    {
        $id = $call->invocation_id;
        $fiber = $this->running[$id] = new Fiber(function () use ($call, $id): void {
            $answer = $this->outcome($call);
            unset($this->running[$id]);
            $this->say(['type' => 'invocationresult', 'invocation_id' => $id, 'function_id' => $call->function_id] + $answer);
        });
        $fiber->start();
    }

    /** @return array<string, mixed> the result or the error of a call */
    private function outcome(object $call): array
    {
        try {
            $function = $this->functions[$call->function_id] ?? throw new Failure('function_not_found', "no function $call->function_id here");
            $result = ['result' => $function['handler']($call->data, $this)];
            json_encode($result, JSON_THROW_ON_ERROR);
            return $result;
        } catch (Failure $failure) {
            return ['error' => ['code' => $failure->name, 'message' => $failure->getMessage()]];
        } catch (Throwable $error) {
            return ['error' => ['code' => 'invocation_failed', 'message' => $error->getMessage(), 'stacktrace' => (string) $error]];
        }
    }

    private function answered(object $answer): void
    {
        [$fiber] = $this->asked[$answer->invocation_id] ?? [null];
        unset($this->asked[$answer->invocation_id]);
        $fiber?->resume($answer);
    }

    private function expire(): void
    {
        foreach ($this->asked as $id => [, $until]) {
            if (microtime(true) > $until) {
                $error = (object) ['code' => 'TIMEOUT', 'message' => 'no answer in ' . self::CALL_S . ' s'];
                $this->answered((object) ['invocation_id' => $id, 'error' => $error]);
            }
        }
    }

    /** What has been taken back is called no more; what runs is answered still. */
    private function leave(): void
    {
        $this->leftAt = microtime(true);
        foreach (array_keys($this->functions) as $id) {
            $this->say(['type' => 'unregisterfunction', 'id' => $id]);
        }
    }

    private function drained(): bool
    {
        return $this->leftAt !== null && (!$this->running || microtime(true) - $this->leftAt > self::DRAIN_S);
    }

    private function say(array $message): void
    {
        $this->socket->send(json_encode($message, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_PRESERVE_ZERO_FRACTION));
    }

    private static function uuid(): string
    {
        $hex = bin2hex(random_bytes(16));
        $hex[12] = '4';
        $hex[16] = dechex(8 | hexdec($hex[16]) & 3);
        return vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split($hex, 4));
    }
}
