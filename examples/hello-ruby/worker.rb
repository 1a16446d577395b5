#!/usr/bin/env ruby
# A worker without an SDK. Run `agentos start` first; then: AGENTOS_TOKEN=$(agentos token) ruby worker.rb
require_relative "bus"

bus = Bus.new("hello-ruby")

bus.function("hello-ruby::greet", description: "Greets somebody.") do |input, _call|
  name = input.is_a?(Hash) && input["name"]
  raise Bus::Failure.new("invalid_input", "name: expected a string", origin: "caller") unless name.is_a?(String)
  "hello #{name}"
end

# Calls the function it is told to, within the time that its own caller has left.
bus.function("hello-ruby::ask", description: "Calls another function.") do |input, call|
  { "answer" => call.trigger(input["function"], input["payload"]) }
end

bus.run
