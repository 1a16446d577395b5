# A client of the `agentos.v2` protocol, written from docs/protocol-v2.md. One thread; every call is
# answered in a fiber, so that a handler may wait for a call of its own while others run.
require "fiber"
require "json"
require "socket"
require "uri"
require "websocket"

class Bus
  HELLO, WELCOME, REGISTER, REGISTERED = 1, 2, 3, 4
  CALL, RESULT, ERROR, CANCEL = 16, 17, 18, 21
  GOODBYE, FAULT, PING, PONG = 32, 33, 34, 35

  DEADLINE_MS = 30_000    # of a call that names none
  PING_S, SILENT_S = 10, 20
  DRAIN_S = 10
  MESSAGE_BYTES_MAX = (64 << 20) + (64 << 10)

  # What a call ends with when it does not succeed, in both directions.
  class Failure < StandardError
    attr_reader :error

    def initialize(code, message, **more)
      super(message)
      @error = { code:, message:, origin: "worker", retryable: false, **more }
    end
  end

  # A call that a handler is answering.
  class Call
    def initialize(bus, function, ends_at)
      @bus, @function, @ends_at = bus, function, ends_at
    end
    attr_reader :function

    def ms_left = ((@ends_at - Bus.now) * 1000).floor

    # Calls another function with what is left of this call's time, and waits.
    def trigger(function, payload = nil) = @bus.trigger(function, payload, ms_left)
  end

  def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  def initialize(name, url: ENV.fetch("AGENTOS_URL", "ws://127.0.0.1:49134"), token: ENV["AGENTOS_TOKEN"])
    @name, @url, @token = name, url, token
    @functions, @handlers = [], {}
    @woken, @wake = IO.pipe
    @number = 0
    @leaving = false
  end

  def function(id, description: nil, &handler)
    @functions << { id:, description: }.compact
    @handlers[id] = handler
  end

  # Serves until SIGTERM or SIGINT, connecting again whenever the connection breaks.
  def run
    %w[TERM INT].each { |signal| trap(signal) { @leaving = true; @wake.write_nonblock(".") } }
    pause = 0.05
    until @leaving
      pause = serve ? 0.05 : [pause * 2, 5].min
      @woken.wait_readable(pause * rand(0.5..1.0)) unless @leaving
    end
  end

  # Waits, in a handler's fiber, for the result of a call.
  def trigger(function, payload, timeout_ms = DEADLINE_MS)
    raise Failure.new("timeout", "the deadline passed before the call was made") if timeout_ms <= 0
    @number += 1
    meta = [function.bytesize].pack("S<") + function.b
    say(CALL, JSON.generate(payload), id: @number, aux: timeout_ms, meta:)
    @asked[@number] = Fiber.current
    result, error = Fiber.yield
    raise Failure.new(error["code"], error["message"], **error.transform_keys(&:to_sym)) if error
    result
  end

  private

  # One connection from start to end; true when the engine had welcomed it.
  def serve
    @asked, @running = {}, {}
    @welcomed = false
    connect
    say(HELLO, JSON.generate({ name: @name, token: @token, language: "ruby", pid: Process.pid }.compact))
    say(REGISTER, JSON.generate({ functions: @functions }), id: 1)
    until drained?
      listen.each { |bytes| hear(bytes) }
    end
    send_frame("", :close)
    @welcomed
  rescue IOError, SystemCallError, SocketError, WebSocket::Error => error
    warn "no connection: #{error.message}"
    @welcomed
  ensure
    @socket&.close
  end

  def connect
    uri = URI(@url)
    shake = WebSocket::Handshake::Client.new(
      url: @url, protocols: ["agentos.v2"], headers: @token ? { "Authorization" => "Bearer #{@token}" } : {}
    )
    @socket = Socket.tcp(uri.host, uri.port, connect_timeout: 10)
    @socket.write(shake.to_s)
    shake << @socket.readpartial(4096) until shake.finished?
    raise IOError, "the engine did not answer as a WebSocket: #{shake.error}" unless shake.valid?
    WebSocket.max_frame_size = MESSAGE_BYTES_MAX
    @frames = WebSocket::Frame::Incoming::Client.new(version: shake.version)
    @frames << shake.leftovers.to_s
    @heard_at = @pinged_at = Bus.now
  end

  # The messages that have come; waits a second at most.
  def listen
    readable, = IO.select([@socket, @woken], nil, nil, 1)
    if readable&.include?(@socket)
      @frames << @socket.readpartial(1 << 20)
      @heard_at = Bus.now
    end
    @woken.read_nonblock(16) if readable&.include?(@woken)
    leave if @leaving
    keep_alive
    messages = []
    while (frame = @frames.next)
      case frame.type
      when :binary then messages << frame.to_s.b
      when :ping then send_frame(frame.to_s, :pong)
      when :close then raise IOError, "the engine closed the connection"
      end
    end
    messages
  end

  def keep_alive
    raise IOError, "no sign of life from the engine" if Bus.now - @heard_at > SILENT_S
    return if Bus.now - [@heard_at, @pinged_at].max < PING_S
    @pinged_at = Bus.now
    send_frame("", :ping)
  end

  def hear(bytes)
    kind, _flags, meta_bytes, aux, id = bytes.unpack("CCS<L<Q<")
    meta, body = bytes.byteslice(16, meta_bytes), bytes.byteslice(16 + meta_bytes, bytes.bytesize)
    case kind
    when WELCOME then @welcomed = true
    when REGISTERED then registered(read(body))
    when CALL then call(id, meta, aux, body)
    when CANCEL then cancel(id)
    when RESULT then answered(id, read(body), nil)
    when ERROR then answered(id, nil, read(body))
    when FAULT then warn "the engine refused a message: #{read(body)["message"]}"
    when PING then say(PONG)
    end
  end

  def registered(answer)
    answer["rejected"].each { |refused| warn "#{refused["id"]} was refused: #{refused["error"]["message"]}" }
  end

  def call(id, meta, aux, body)
    function = meta.byteslice(2, meta.unpack1("S<")).force_encoding("UTF-8")
    call = Call.new(self, function, Bus.now + (aux.zero? ? DEADLINE_MS : aux) / 1000.0)
    fiber = @running[id] = Fiber.new do
      outcome = outcome_of(call, body)
      @running.delete(id)
      say(*outcome, id:)
    end
    fiber.resume
  end

  # The kind and the body of the answer.
  def outcome_of(call, body)
    handler = @handlers[call.function] or raise Failure.new("not_found", "no function #{call.function} here")
    [RESULT, JSON.generate(handler.call(read(body), call))]
  rescue Failure => failure
    [ERROR, JSON.generate(failure.error)]
  rescue StandardError => error
    stack = error.full_message(highlight: false)
    [ERROR, JSON.generate(Failure.new("failed", error.message, details: { stack: }).error)]
  end

  # The caller has gone: the handler ends where it waits, and so does what it has asked for.
  def cancel(id)
    fiber = @running[id] or return
    number = @asked.key(fiber) or return
    @asked.delete(number)
    say(CANCEL, id: number)
    fiber.resume(nil, { "code" => "cancelled", "message" => "the caller has gone" })
  end

  def answered(id, result, error)
    @asked.delete(id)&.resume(result, error)
  end

  # Nothing new is taken any more; the engine has withdrawn our functions when it reads this.
  def leave
    return if @leaving_since
    @leaving_since = Bus.now
    say(GOODBYE, JSON.generate({ reason: "the worker is stopping" }))
  end

  def drained? = @leaving_since && (@running.empty? || Bus.now - @leaving_since > DRAIN_S)

  # `body` is JSON text.
  def say(kind, body = "", id: 0, aux: 0, meta: "")
    send_frame([kind, 0, meta.bytesize, aux, id].pack("CCS<L<Q<") + meta.b + body.b, :binary)
  end

  def send_frame(data, type)
    @socket.write(WebSocket::Frame::Outgoing::Client.new(version: 13, data:, type:).to_s)
  end

  def read(body) = body.empty? ? nil : JSON.parse(body)
end
