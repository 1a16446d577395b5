"""Echo with the unmodified `iii-sdk` of PyPI: `iii_echo.py callee|caller IN_FLIGHT WARMUP_MS SECONDS`."""

import os
import sys
import threading

from iii import InitOptions, register_worker
from measure import PAYLOAD, measure

# Ends with the harness, however that ends.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
iii = register_worker(os.environ["AGENTOS_URL"], InitOptions(otel={"enabled": False}, enable_metrics_reporting=False))
if sys.argv[1] == "callee":

    async def echo(data):
        return data

    iii.register_function("bench::echo", echo)
    # Registering is silent: an answer says that it is in force.
    iii.trigger({"function_id": "bench::echo", "payload": PAYLOAD})
    print("ready", flush=True)
    threading.Event().wait()
else:
    request = {"function_id": "bench::echo", "payload": PAYLOAD}
    # On the SDK's own loop, where its calls cost least.
    iii._run_on_loop(
        measure(lambda: iii.trigger_async(request), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    )
    os._exit(0)
