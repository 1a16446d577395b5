//! The router against everything a bus full of careless workers can do to it.
//!
//! A seeded generator drives it with calls, right, late, doubled and foreign replies, departures,
//! full outboxes and clock steps. Checkers ask for exactly one outcome per call, for living owners
//! only, and for balanced books at the end. A failure prints its seed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agentos_protocol::{
    Call, CallRef, Code, Delivery, ErrorBody, Frame, FunctionSpec, Payload, Register, SessionId,
    TriggerSpec, TriggerTypeSpec, Unregister,
};

use super::*;
use crate::{Effects, WEIGHT_MAX};

const FUNCTIONS: [&str; 4] = ["a::one", "a::two", "b::one", "b::two"];
const STEPS: usize = 2_000;

/// Some of them may run twice, some run only a few calls at one time.
fn spec(function: &str) -> FunctionSpec {
    FunctionSpec {
        idempotent: function.ends_with("two"),
        concurrency: function.starts_with('b').then_some(2),
        waiting_max: function.starts_with('b').then_some(3),
        ..FunctionSpec::new(function)
    }
}

/// xorshift64*, Vigna 2016: small, seeded, good enough to be surprising.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() {
            None
        } else {
            Some(&from[self.below(from.len())])
        }
    }
}

/// A fault planted in the bus, to see that the checkers find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    LosesReplies,
    DoublesReplies,
    ForgetsToExpire,
}

#[derive(Default)]
struct World {
    open: BTreeSet<u64>,
    next_session: u64,
    next_number: u64,
    /// Calls that wait for an outcome: (caller, number) to its deadline.
    waiting: BTreeMap<(u64, u64), Now>,
    /// Calls a session was given: callee to the engine's numbers.
    given: HashMap<u64, Vec<u64>>,
    /// Every number ever given, to be replied to late.
    old: Vec<u64>,
    now: Now,
    /// How often a call was given to anybody.
    sent: HashMap<u64, u32>,
    /// Sessions that get nothing new, and whether they are said to have nothing left.
    draining: BTreeMap<u64, bool>,
}

struct Simulation {
    router: Router,
    world: World,
    random: Random,
    fault: Fault,
    replies: usize,
}

impl Simulation {
    fn new(seed: u64, fault: Fault) -> Self {
        let world = World {
            next_session: 1,
            next_number: 1,
            ..World::default()
        };
        Simulation {
            router: Router::new(Limits::default()),
            world,
            random: Random(seed),
            fault,
            replies: 0,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.step()?;
            self.check_owners()?;
            self.check_draining()?;
            self.check_limits()?;
        }
        self.settle()
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.below(100) {
            0..=7 => self.connect(),
            8..=11 => self.disconnect(),
            12..=21 => self.register(),
            22..=24 => self.unregister(),
            25..=59 => self.call(),
            60..=84 => self.reply(),
            85..=88 => self.chunk_or_credit(),
            89..=92 => self.cancel(),
            93 => self.goodbye(),
            94 => self.drain(),
            _ => self.pass_time(),
        }
    }

    fn somebody(&mut self) -> Option<u64> {
        let open: Vec<u64> = self.world.open.iter().copied().collect();
        self.random.pick(&open).copied()
    }

    fn send(&mut self, from: u64, frame: Frame) -> Result<(), String> {
        let mut out = Effects::new();
        self.router
            .on_frame(self.world.now, SessionId(from), frame, &mut out);
        self.perform(out)
    }

    fn connect(&mut self) -> Result<(), String> {
        let id = self.world.next_session;
        self.world.next_session += 1;
        self.world.open.insert(id);
        let spec = SessionSpec {
            public_id: format!("w{id}").into(),
            trust: Trust::Worker,
            named: true,
            timeout_default: Duration::from_secs(30),
            rules: None,
            peer: None,
            instance: None,
            share: Share::default(),
        };
        let mut out = Effects::new();
        self.router
            .open(self.world.now, SessionId(id), spec, &mut out);
        self.perform(out)
    }

    fn disconnect(&mut self) -> Result<(), String> {
        let Some(id) = self.somebody() else {
            return Ok(());
        };
        self.forget(id);
        let mut out = Effects::new();
        self.router.close(self.world.now, SessionId(id), &mut out);
        self.perform(out)?;
        self.nothing_waits_on(id)
    }

    /// The session is gone: what it waited for, nobody waits for.
    fn forget(&mut self, id: u64) {
        self.world.open.remove(&id);
        self.world.waiting.retain(|(caller, _), _| *caller != id);
    }

    fn register(&mut self) -> Result<(), String> {
        let Some(id) = self.somebody() else {
            return Ok(());
        };
        let share = Share {
            weight: [0, 100, 900, WEIGHT_MAX][self.random.below(4)],
            ready: self.random.below(5) > 0,
        };
        let over = Duration::from_millis(self.random.below(3_000) as u64);
        self.router.ramp(self.world.now, SessionId(id), over);
        self.router.set_share(SessionId(id), share);
        let function = FUNCTIONS[self.random.below(FUNCTIONS.len())];
        let name = format!("t{}", self.random.below(20));
        let trigger = TriggerSpec::new(name, "clock", function, serde_json::Value::Null);
        let clock = TriggerTypeSpec {
            id: "clock".into(),
            description: String::new(),
            config_schema: None,
            payload_schema: None,
        };
        let register = Register {
            request: self.random.next() % 2,
            functions: vec![spec(function)],
            triggers: vec![trigger],
            trigger_types: if self.random.below(4) == 0 {
                vec![clock]
            } else {
                Vec::new()
            },
        };
        self.send(id, Frame::Register(Box::new(register)))
    }

    fn unregister(&mut self) -> Result<(), String> {
        let Some(id) = self.somebody() else {
            return Ok(());
        };
        let function = FUNCTIONS[self.random.below(FUNCTIONS.len())];
        let ids = Unregister {
            functions: vec![function.into()],
            triggers: vec!["t1".into()],
            trigger_types: vec!["clock".into()],
        };
        self.send(id, Frame::Unregister(Box::new(ids)))
    }

    fn call(&mut self) -> Result<(), String> {
        let Some(id) = self.somebody() else {
            return Ok(());
        };
        let number = self.world.next_number;
        self.world.next_number += 1;
        let function = FUNCTIONS[self.random.below(FUNCTIONS.len())];
        let mut call = Call::new(Some(CallRef::Number(number)), function, Payload::json("1"));
        let timeout_ms = 1 + self.random.below(5_000) as u32;
        call.timeout_ms = Some(timeout_ms);
        if self.random.below(4) == 0 {
            call.affinity = Some(format!("key-{}", self.random.below(5)).into());
        }
        call.delivery = match self.random.below(4) {
            0 => Delivery::Void,
            1 => Delivery::Stream,
            _ => Delivery::Reply,
        };
        if call.delivery != Delivery::Void {
            let deadline = self
                .world
                .now
                .after(Duration::from_millis(timeout_ms.into()));
            self.world.waiting.insert((id, number), deadline);
        }
        self.send(id, Frame::Call(Box::new(call)))
    }

    fn reply(&mut self) -> Result<(), String> {
        let Some(id) = self.somebody() else {
            return Ok(());
        };
        let own = self.world.given.get(&id).cloned().unwrap_or_default();
        let number = match self.random.below(10) {
            // Late, doubled, or somebody else's.
            0 | 1 => self.random.pick(&self.world.old).copied(),
            // Never given to anybody.
            2 => Some(self.random.next()),
            _ => self.random.pick(&own).copied(),
        };
        let Some(number) = number else { return Ok(()) };
        let outcome = if self.random.below(5) == 0 {
            Err(ErrorBody::worker(Code::Failed, "no"))
        } else {
            Ok(Payload::json("2"))
        };
        if let Some(given) = self.world.given.get_mut(&id) {
            given.retain(|given| *given != number);
        }
        self.send(
            id,
            Frame::Reply {
                call: CallRef::Number(number),
                function: "".into(),
                outcome,
            },
        )
    }

    fn chunk_or_credit(&mut self) -> Result<(), String> {
        let Some(id) = self.somebody() else {
            return Ok(());
        };
        let number = self.random.pick(&self.world.old).copied().unwrap_or(7);
        let call = CallRef::Number(number);
        let frame = if self.random.below(2) == 0 {
            Frame::Chunk {
                call,
                payload: Payload::json("3"),
            }
        } else {
            Frame::Credit { call, chunks: 1 }
        };
        self.send(id, frame)
    }

    fn cancel(&mut self) -> Result<(), String> {
        let waiting: Vec<(u64, u64)> = self.world.waiting.keys().copied().collect();
        let Some((caller, number)) = self.random.pick(&waiting).copied() else {
            return Ok(());
        };
        self.send(
            caller,
            Frame::Cancel {
                call: CallRef::Number(number),
            },
        )?;
        if self.world.waiting.contains_key(&(caller, number)) {
            return Err(format!(
                "cancelled call {number} of {caller} got no outcome"
            ));
        }
        Ok(())
    }

    fn goodbye(&mut self) -> Result<(), String> {
        let Some(id) = self.somebody() else {
            return Ok(());
        };
        self.send(
            id,
            Frame::Goodbye {
                reason: "tired".into(),
            },
        )?;
        let lists = |function: &FunctionView| function.sessions.contains(&SessionId(id));
        if self.router.functions().iter().any(lists) {
            return Err(format!("session {id} said goodbye and is still offered"));
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), String> {
        let Some(id) = self.somebody() else {
            return Ok(());
        };
        self.world.draining.entry(id).or_insert(false);
        let mut out = Effects::new();
        self.router.drain(self.world.now, SessionId(id), &mut out);
        self.perform(out)
    }

    /// Whoever gets nothing new is said to be done exactly when it is.
    fn check_draining(&self) -> Result<(), String> {
        for (id, is_said) in &self.world.draining {
            let left = self.router.in_flight(SessionId(*id));
            if left.is_some_and(|left| (left == 0) != *is_said) {
                return Err(format!(
                    "{id} drains, has {left:?} calls left, said to be done: {is_said}"
                ));
            }
        }
        Ok(())
    }

    fn pass_time(&mut self) -> Result<(), String> {
        self.world.now = self
            .world
            .now
            .after(Duration::from_millis(self.random.below(3_000) as u64));
        if self.fault == Fault::ForgetsToExpire {
            return self.check_deadlines();
        }
        let mut out = Effects::new();
        self.router.expire(self.world.now, &mut out);
        self.perform(out)?;
        self.check_deadlines()
    }

    // ── The bus ─────────────────────────────────────────────────────────────────────────────

    fn perform(&mut self, effects: Effects) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => self.deliver(to, frame)?,
                Effect::Close { session, .. } => {
                    self.forget(session.0);
                    let mut out = Effects::new();
                    self.router.close(self.world.now, session, &mut out);
                    self.perform(out)?;
                }
                Effect::Drained(session) => {
                    self.world.draining.insert(session.0, true);
                }
                Effect::Sooner | Effect::Event(_) => {}
            }
        }
        Ok(())
    }

    fn deliver(&mut self, to: SessionId, frame: Frame) -> Result<(), String> {
        let refusal = match self.world.open.contains(&to.0) {
            false => Some(Refusal::Closed),
            true if matches!(frame, Frame::Call(_)) && self.random.below(20) == 0 => {
                Some(Refusal::Full)
            }
            true if self.random.below(500) == 0 => Some(Refusal::Full),
            true => None,
        };
        if let Some(why) = refusal {
            let lost = if let Frame::Reply { call, .. } = &frame {
                call.number()
            } else {
                None
            };
            let mut out = Effects::new();
            self.router
                .refused(self.world.now, to, frame, why, &mut out);
            if let Some(number) = lost {
                self.world.waiting.remove(&(to.0, number));
            }
            return self.perform(out);
        }
        match frame {
            Frame::Call(call) => {
                let number = call
                    .call
                    .as_ref()
                    .and_then(CallRef::number)
                    .ok_or("a call was sent on without a number")?;
                let sent = self.world.sent.entry(number).or_default();
                *sent += 1;
                let sent_max = if spec(&call.function).idempotent {
                    3
                } else {
                    1
                };
                if *sent > sent_max {
                    return Err(format!("call {number} was sent {sent} times"));
                }
                self.world.given.entry(to.0).or_default().push(number);
                self.world.old.push(number);
            }
            Frame::Reply { call, .. } => {
                self.replies += 1;
                let times = match self.fault {
                    Fault::LosesReplies if self.replies.is_multiple_of(10) => 0,
                    Fault::DoublesReplies if self.replies.is_multiple_of(10) => 2,
                    _ => 1,
                };
                for _ in 0..times {
                    let number = call
                        .number()
                        .ok_or("a reply came back without the caller's number")?;
                    if self.world.waiting.remove(&(to.0, number)).is_none() {
                        return Err(format!("call {number} of {to} got a second outcome"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    // ── The checkers ────────────────────────────────────────────────────────────────────────

    fn check_owners(&self) -> Result<(), String> {
        let open = |session: &SessionId| self.world.open.contains(&session.0);
        for function in self.router.functions() {
            if let Some(gone) = function.sessions.iter().find(|session| !open(session)) {
                return Err(format!(
                    "{} is offered by {gone}, who is gone",
                    function.spec.id
                ));
            }
        }
        let orphan = self
            .router
            .triggers()
            .into_iter()
            .find(|trigger| !open(&trigger.owner));
        let provider = self
            .router
            .trigger_types()
            .into_iter()
            .find(|kind| !open(&kind.provider));
        match (orphan, provider) {
            (Some(trigger), _) => Err(format!(
                "trigger {} belongs to {}, who is gone",
                trigger.spec.id, trigger.owner
            )),
            (_, Some(kind)) => Err(format!(
                "type {} is provided by {}, who is gone",
                kind.spec.id, kind.provider
            )),
            (None, None) => Ok(()),
        }
    }

    fn check_deadlines(&self) -> Result<(), String> {
        match self
            .world
            .waiting
            .iter()
            .find(|(_, deadline)| **deadline <= self.world.now)
        {
            Some(((caller, number), _)) => {
                Err(format!("call {number} of {caller} waits past its deadline"))
            }
            None => Ok(()),
        }
    }

    /// Nobody is given more than it takes at one time.
    fn check_limits(&self) -> Result<(), String> {
        let calls = &self.router.calls;
        let mut counts: HashMap<(SessionId, Arc<str>), u32> = HashMap::new();
        for id in calls.find(|call| call.gate.is_some()) {
            let of = calls.look(id, |call| Some((call.callee, Arc::clone(&call.function))));
            *counts.entry(of.ok_or("a call is gone")?).or_default() += 1;
        }
        let over = |((_, function), count): &(&(SessionId, Arc<str>), &u32)| {
            Some(**count) > spec(function).concurrency
        };
        match counts.iter().find(over) {
            Some(((session, function), count)) => {
                Err(format!("{session} has {count} calls of {function}"))
            }
            None => Ok(()),
        }
    }

    fn nothing_waits_on(&self, session: u64) -> Result<(), String> {
        match self.router.running_on(SessionId(session)) {
            0 => Ok(()),
            count => Err(format!("{count} calls wait on {session}, who is gone")),
        }
    }

    /// Lets every deadline pass: then nobody may wait, and no count may be off.
    fn settle(&mut self) -> Result<(), String> {
        self.world.now = self.world.now.after(Duration::from_hours(1));
        let mut out = Effects::new();
        if self.fault != Fault::ForgetsToExpire {
            self.router.expire(self.world.now, &mut out);
        }
        self.perform(out)?;
        self.check_deadlines()?;
        if self.router.calls_in_flight() != 0 {
            return Err(format!("{} calls are left", self.router.calls_in_flight()));
        }
        if !self.router.registry.functions.are_idle() {
            return Err("a place or a line is thought to be taken".to_owned());
        }
        match self
            .router
            .sessions()
            .iter()
            .find(|session| session.calls_in_flight != 0)
        {
            Some(session) => Err(format!("{} is thought to be busy", session.session)),
            None => Ok(()),
        }
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    // Fixed, so that a run can be repeated; many, so that they reach into the corners.
    (1..=60u64).map(|seed| seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

#[test]
fn every_call_has_exactly_one_outcome() {
    for seed in seeds() {
        if let Err(problem) = Simulation::new(seed, Fault::None).run() {
            panic!("seed {seed}: {problem}");
        }
    }
}

#[test]
fn planted_faults_are_found() {
    for fault in [
        Fault::LosesReplies,
        Fault::DoublesReplies,
        Fault::ForgetsToExpire,
    ] {
        let found = seeds().any(|seed| Simulation::new(seed, fault).run().is_err());
        assert!(found, "{fault:?} was not noticed");
    }
}

#[test]
fn equal_workers_share_evenly_and_the_slower_gets_less() {
    let router = Router::new(Limits::default());
    let mut out = Effects::new();
    for id in 1..=3 {
        let spec = SessionSpec {
            public_id: format!("w{id}").into(),
            trust: Trust::Worker,
            named: true,
            timeout_default: Duration::from_secs(30),
            rules: None,
            peer: None,
            instance: None,
            share: Share::default(),
        };
        router.open(Now(0), SessionId(id), spec, &mut out);
        let register = Register {
            functions: vec![FunctionSpec::new("f")],
            ..Register::default()
        };
        if id < 3 {
            router.on_frame(
                Now(0),
                SessionId(id),
                Frame::Register(Box::new(register)),
                &mut out,
            );
        }
    }
    let mut given: HashMap<u64, u32> = HashMap::new();
    for number in 1..=1_000 {
        let mut out = Effects::new();
        let call = Call::new(Some(CallRef::Number(number)), "f", Payload::NULL);
        router.on_frame(Now(0), SessionId(3), Frame::Call(Box::new(call)), &mut out);
        let Some(Effect::Send {
            to,
            frame: Frame::Call(call),
        }) = out.into_iter().next()
        else {
            panic!("the call is sent on")
        };
        *given.entry(to.0).or_default() += 1;
        // The first answers at once, the second never.
        if to == SessionId(1) {
            let reply = Frame::Reply {
                call: call.call.expect("numbered"),
                function: "f".into(),
                outcome: Ok(Payload::NULL),
            };
            router.on_frame(Now(0), to, reply, &mut Effects::new());
        }
    }
    assert!(given[&1] > 900, "{given:?}");
}

#[test]
fn numbers_in_use_and_too_large_are_refused() {
    let router = Router::new(Limits::default());
    let mut out = Effects::new();
    let spec = SessionSpec {
        public_id: "w".into(),
        trust: Trust::Worker,
        named: true,
        timeout_default: Duration::from_secs(30),
        rules: None,
        peer: None,
        instance: None,
        share: Share::default(),
    };
    router.open(Now(0), SessionId(1), spec, &mut out);
    let register = Register {
        functions: vec![FunctionSpec::new("f")],
        ..Register::default()
    };
    router.on_frame(
        Now(0),
        SessionId(1),
        Frame::Register(Box::new(register)),
        &mut out,
    );
    let call = |number| {
        let mut out = Effects::new();
        let call = Call::new(Some(CallRef::Number(number)), "f", Payload::NULL);
        router.on_frame(Now(0), SessionId(1), Frame::Call(Box::new(call)), &mut out);
        out.into_iter().find_map(|effect| match effect {
            Effect::Send {
                frame:
                    Frame::Reply {
                        outcome: Err(error),
                        ..
                    },
                ..
            } => Some(error.code),
            _ => None,
        })
    };
    assert_eq!(call(5), None);
    assert_eq!(call(5), Some(Code::Conflict));
    assert_eq!(call(u64::MAX), Some(Code::InvalidFrame));
}

fn open(router: &Router, id: u64) {
    let spec = SessionSpec {
        public_id: format!("w{id}").into(),
        trust: Trust::Worker,
        named: true,
        timeout_default: Duration::from_secs(30),
        rules: None,
        peer: None,
        instance: None,
        share: Share::default(),
    };
    router.open(Now(0), SessionId(id), spec, &mut Effects::new());
}

#[test]
fn an_error_that_cannot_be_said_ends_the_session_and_not_the_engine() {
    let router = Router::new(Limits::default());
    open(&router, 1);
    let reply = |outcome| Frame::Reply {
        call: CallRef::Number(1),
        function: "f".into(),
        outcome,
    };
    let too_large = || ErrorBody::engine(Code::PayloadTooLarge, "too large");
    let mut out = Effects::new();
    router.unsendable(
        Now(0),
        SessionId(1),
        reply(Ok(Payload::NULL)),
        too_large(),
        &mut out,
    );
    assert!(matches!(
        &out[..],
        [Effect::Send {
            frame: Frame::Reply {
                outcome: Err(_),
                ..
            },
            ..
        }]
    ));
    let mut out = Effects::new();
    router.unsendable(
        Now(0),
        SessionId(1),
        reply(Err(too_large())),
        too_large(),
        &mut out,
    );
    assert!(matches!(&out[..], [Effect::Close { .. }]));
}

#[test]
fn a_trigger_that_changes_its_type_leaves_nothing_behind() {
    let router = Router::new(Limits::default());
    for id in 1..=3 {
        open(&router, id);
    }
    let register = |from: u64, register: Register| {
        let mut out = Effects::new();
        router.on_frame(
            Now(0),
            SessionId(from),
            Frame::Register(Box::new(register)),
            &mut out,
        );
        out.retain(|effect| !matches!(effect, Effect::Event(_)));
        out
    };
    for (provider, kind) in [(1, "http"), (2, "state")] {
        let trigger_types = vec![TriggerTypeSpec {
            id: kind.into(),
            description: String::new(),
            config_schema: None,
            payload_schema: None,
        }];
        register(
            provider,
            Register {
                trigger_types,
                ..Register::default()
            },
        );
    }
    let bind = |kind: &str| {
        let triggers = vec![TriggerSpec::new("t", kind, "f", serde_json::Value::Null)];
        register(
            3,
            Register {
                triggers,
                ..Register::default()
            },
        )
    };
    assert!(matches!(
        &bind("http")[..],
        [Effect::Send {
            to: SessionId(1),
            frame: Frame::BindTrigger(_)
        }]
    ));
    let moved = bind("state");
    let undone = moved.iter().any(|effect| {
        matches!(
            effect,
            Effect::Send {
                to: SessionId(1),
                frame: Frame::UnbindTrigger { .. }
            }
        )
    });
    let bound = moved.iter().any(|effect| {
        matches!(
            effect,
            Effect::Send {
                to: SessionId(2),
                frame: Frame::BindTrigger(_)
            }
        )
    });
    assert!(undone && bound, "{moved:?}");
}

#[test]
fn one_session_cannot_take_the_room_of_all() {
    let router = Router::new(Limits {
        calls_per_session_max: 2,
        ..Limits::default()
    });
    open(&router, 1);
    open(&router, 2);
    let functions = vec![FunctionSpec::new("f")];
    let register = Register {
        functions,
        ..Register::default()
    };
    router.on_frame(
        Now(0),
        SessionId(1),
        Frame::Register(Box::new(register)),
        &mut Effects::new(),
    );
    let call = |from: u64, number| {
        let mut out = Effects::new();
        let call = Call::new(Some(CallRef::Number(number)), "f", Payload::NULL);
        router.on_frame(
            Now(0),
            SessionId(from),
            Frame::Call(Box::new(call)),
            &mut out,
        );
        matches!(
            &out[0],
            Effect::Send {
                frame: Frame::Call(_),
                ..
            }
        )
    };
    assert!(call(2, 1) && call(2, 2) && !call(2, 3) && call(1, 1));
    router.on_frame(
        Now(0),
        SessionId(2),
        Frame::Cancel {
            call: CallRef::Number(1),
        },
        &mut Effects::new(),
    );
    assert!(call(2, 4));
}

/// What was sent to `to`, in order: the numbers of the calls.
fn calls_to(out: &Effects, to: u64) -> Vec<u64> {
    let numbers = out.iter().filter_map(|effect| match effect {
        Effect::Send {
            to: session,
            frame: Frame::Call(call),
        } if session.0 == to => call.call.as_ref().and_then(CallRef::number),
        _ => None,
    });
    numbers.collect()
}

/// The outcomes that were sent to `to`.
fn outcomes_to(out: &Effects, to: u64) -> Vec<Result<(), Code>> {
    let outcomes = out.iter().filter_map(|effect| match effect {
        Effect::Send {
            to: session,
            frame: Frame::Reply { outcome, .. },
        } if session.0 == to => Some(outcome.as_ref().map(|_| ()).map_err(|error| error.code)),
        _ => None,
    });
    outcomes.collect()
}

/// A router with session 1 that calls, and sessions from 2 on that offer `spec`.
fn pool(spec: &FunctionSpec, workers: u64) -> Router {
    let router = Router::new(Limits::default());
    open(&router, 1);
    for id in 2..2 + workers {
        open(&router, id);
        let register = Register {
            functions: vec![spec.clone()],
            ..Register::default()
        };
        let frame = Frame::Register(Box::new(register));
        router.on_frame(Now(0), SessionId(id), frame, &mut Effects::new());
    }
    router
}

fn send(router: &Router, from: u64, frame: Frame) -> Effects {
    let mut out = Effects::new();
    router.on_frame(Now(0), SessionId(from), frame, &mut out);
    out
}

fn call(router: &Router, number: u64) -> Effects {
    let call = Call::new(Some(CallRef::Number(number)), "f", Payload::json("1"));
    send(router, 1, Frame::Call(Box::new(call)))
}

fn answer(router: &Router, from: u64, number: u64) -> Effects {
    let reply = Frame::Reply {
        call: CallRef::Number(number),
        function: "f".into(),
        outcome: Ok(Payload::NULL),
    };
    send(router, from, reply)
}

#[test]
fn calls_wait_for_a_place_in_order_and_no_more_than_may() {
    let spec = FunctionSpec {
        concurrency: Some(1),
        waiting_max: Some(2),
        ..FunctionSpec::new("f")
    };
    let router = pool(&spec, 1);
    let first = calls_to(&call(&router, 1), 2);
    for number in [2, 3] {
        assert!(calls_to(&call(&router, number), 2).is_empty());
    }
    assert_eq!(outcomes_to(&call(&router, 4), 1), [Err(Code::Overloaded)]);
    // Who gives up makes room in the line.
    let cancel = Frame::Cancel {
        call: CallRef::Number(2),
    };
    assert_eq!(
        outcomes_to(&send(&router, 1, cancel), 1),
        [Err(Code::Cancelled)]
    );
    assert!(calls_to(&call(&router, 5), 2).is_empty());
    let out = answer(&router, 2, first[0]);
    assert_eq!(outcomes_to(&out, 1), [Ok(())]);
    let third = calls_to(&out, 2);
    assert_eq!(third, [Calls::id(SessionId(1), 3).0]);
    let out = answer(&router, 2, third[0]);
    assert_eq!(calls_to(&out, 2), [Calls::id(SessionId(1), 5).0]);
    // Without anybody left, nobody waits.
    assert!(calls_to(&call(&router, 6), 2).is_empty());
    let mut out = Effects::new();
    router.close(Now(0), SessionId(2), &mut out);
    assert_eq!(outcomes_to(&out, 1), [Err(Code::WorkerLost); 2]);
    assert_eq!(router.calls_in_flight(), 0);
}

#[test]
fn calls_of_a_lost_worker_go_to_another_if_they_may_run_twice() {
    for idempotent in [true, false] {
        let spec = FunctionSpec {
            idempotent,
            ..FunctionSpec::new("f")
        };
        let router = pool(&spec, 2);
        let out = call(&router, 1);
        let (lost, other) = if calls_to(&out, 2).is_empty() {
            (3, 2)
        } else {
            (2, 3)
        };
        let mut out = Effects::new();
        router.close(Now(0), SessionId(lost), &mut out);
        if idempotent {
            let again = calls_to(&out, other);
            assert_eq!(again.len(), 1);
            assert_eq!(outcomes_to(&answer(&router, other, again[0]), 1), [Ok(())]);
        } else {
            assert_eq!(outcomes_to(&out, 1), [Err(Code::WorkerLost)]);
        }
        assert_eq!(router.calls_in_flight(), 0);
    }
}

#[test]
fn a_stream_that_has_begun_does_not_begin_again() {
    let spec = FunctionSpec {
        idempotent: true,
        ..FunctionSpec::new("f")
    };
    let router = pool(&spec, 2);
    let mut stream = Call::new(Some(CallRef::Number(1)), "f", Payload::NULL);
    stream.delivery = Delivery::Stream;
    let out = send(&router, 1, Frame::Call(Box::new(stream)));
    let lost = if calls_to(&out, 2).is_empty() { 3 } else { 2 };
    let chunk = Frame::Chunk {
        call: CallRef::Number(calls_to(&out, lost)[0]),
        payload: Payload::NULL,
    };
    send(&router, lost, chunk);
    let mut out = Effects::new();
    router.close(Now(0), SessionId(lost), &mut out);
    assert_eq!(outcomes_to(&out, 1), [Err(Code::WorkerLost)]);
}

#[test]
fn a_call_that_did_not_arrive_goes_to_another() {
    let router = pool(&FunctionSpec::new("f"), 2);
    let sent = call(&router, 1)
        .into_iter()
        .find_map(|effect| match effect {
            Effect::Send { to, frame } => Some((to, frame)),
            _ => None,
        });
    let (to, frame) = sent.expect("the call is sent on");
    let mut out = Effects::new();
    router.refused(Now(0), to, frame, Refusal::Full, &mut out);
    assert_eq!(calls_to(&out, 5 - to.0).len(), 1);
}

#[test]
fn who_fails_call_after_call_rests_unless_nobody_does_better() {
    let router = pool(&FunctionSpec::new("f"), 2);
    let mut number = 0;
    // Session 2 fails what it gets, session 3 does as it is told.
    let mut run = |now: Now, is_well: bool| {
        number += 1;
        let call = Call::new(Some(CallRef::Number(number)), "f", Payload::NULL);
        let mut out = Effects::new();
        router.on_frame(now, SessionId(1), Frame::Call(Box::new(call)), &mut out);
        let to = if calls_to(&out, 2).is_empty() { 3 } else { 2 };
        let reply = Frame::Reply {
            call: CallRef::Number(calls_to(&out, to)[0]),
            function: "f".into(),
            outcome: if to == 3 && is_well {
                Ok(Payload::NULL)
            } else {
                Err(ErrorBody::worker(Code::Failed, "no"))
            },
        };
        router.on_frame(now, SessionId(to), reply, &mut Effects::new());
        to
    };
    let first = (0..100).filter(|_| run(Now(0), true) == 2).count();
    assert_eq!(first, 5);
    // Now that the other fails as well, there is nobody better.
    let later = Now(1_000_000);
    assert!((0..20).all(|_| run(later, false) == 3));
    // It comes back, and one failure is enough.
    let back = Now(11_000_000);
    assert!(run(back, true) == 3 || run(back, true) == 3);
    let again = (0..50).filter(|_| run(back, true) == 2).count();
    assert!(again <= 1, "{again}");
}
