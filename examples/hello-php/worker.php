<?php
// A worker without an SDK. Run `agentos start` first; then: AGENTOS_TOKEN=$(agentos token) php worker.php

declare(strict_types=1);

require __DIR__ . '/Bus.php';

$bus = new Bus('hello-php');

$bus->function('hello-php::greet', 'Greets somebody.', function (mixed $input): string {
    $name = is_object($input) ? $input->name ?? null : null;
    return is_string($name) ? "hello $name" : throw new Failure('invalid_input', 'name: expected a string');
});

// Calls the function it is told to.
$bus->function('hello-php::ask', 'Calls another function.', fn (object $input, Bus $bus): array => [
    'answer' => $bus->trigger($input->function, $input->payload ?? null),
]);

$bus->run();
