//! One call through the router: from the caller's frame to the callee's, and back.

use std::{sync::Arc, time::Duration};

use agentos_core::{Effect, Effects, Limits, Now, Router, SessionSpec, Share, policy::Trust};
use agentos_protocol::{Call, CallRef, Frame, FunctionSpec, Payload, Register, SessionId};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const NOW: Now = Now(1);
const CALLER: SessionId = SessionId(1);
const CALLEE: SessionId = SessionId(2);

/// A router with a callee of so many functions.
fn router(functions: usize) -> Router {
    let router = Router::new(Limits::default());
    let mut out = Effects::new();
    for session in [CALLER, CALLEE] {
        let spec = SessionSpec {
            public_id: session.0.to_string().into(),
            trust: Trust::Worker,
            named: true,
            timeout_default: Duration::from_secs(30),
            rules: None,
            peer: None,
            instance: None,
            share: Share::default(),
        };
        router.open(NOW, session, spec, &mut out);
    }
    let register = Register {
        functions: (0..functions)
            .map(|index| FunctionSpec::new(format!("bench::function{index}")))
            .collect(),
        ..Register::default()
    };
    router.on_frame(NOW, CALLEE, Frame::Register(Box::new(register)), &mut out);
    router
}

#[divan::bench(args = [1, 10_000])]
fn call_and_reply(bencher: Bencher<'_, '_>, functions: usize) {
    let router = router(functions);
    let function: Arc<str> = "bench::function0".into();
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        let mut out = Effects::new();
        let own = CallRef::Number(number);
        let call = Call::new(Some(own), Arc::clone(&function), Payload::NULL);
        router.on_frame(NOW, CALLER, Frame::Call(Box::new(call)), &mut out);
        let reference = out
            .iter()
            .find_map(|effect| match effect {
                Effect::Send {
                    frame: Frame::Call(call),
                    ..
                } => call.call.clone(),
                _ => None,
            })
            .expect("the callee is called");
        let reply = Frame::Reply {
            call: reference,
            function: Arc::clone(&function),
            outcome: Ok(Payload::NULL),
        };
        let mut out = Effects::new();
        router.on_frame(NOW, CALLEE, reply, &mut out);
        black_box(out)
    });
}
