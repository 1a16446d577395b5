use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::builtin::queue::{config::QueueConfig, rules::Order};

fn machine(order: Order, concurrency: usize) -> Machine {
    grouped(order, None, concurrency)
}

fn grouped(order: Order, group_concurrency: Option<usize>, concurrency: usize) -> Machine {
    let rules = Rules {
        order,
        concurrency,
        group_concurrency,
        ..Rules::of_queue(&QueueConfig::default())
    };
    Machine::new(rules, 1000, true)
}

fn head(group: u128) -> Head {
    Head {
        group,
        ..Head::default()
    }
}

/// Accepts and stores one message per group named, numbered from 1.
fn filled(order: Order, concurrency: usize, groups: &[u128]) -> Machine {
    let mut machine = machine(order, concurrency);
    for (number, group) in (1..).zip(groups) {
        machine.accept(number, head(*group)).unwrap();
        machine.stored(number);
    }
    machine
}

fn leases(machine: &mut Machine, now_ms: u64) -> Vec<Number> {
    std::iter::from_fn(|| machine.lease(now_ms).map(|lease| lease.number)).collect()
}

fn fail(machine: &mut Machine, number: Number, now_ms: u64) -> Verdict {
    let verdict = machine
        .verdict(number, now_ms, Failure::Counted, 0)
        .unwrap();
    match verdict {
        Verdict::Retry(head) => machine.retry(number, head),
        Verdict::Bury(head) => machine.bury(number, number + 1000, head),
    }
    verdict
}

#[test]
fn the_oldest_go_first_and_no_more_than_may() {
    let mut machine = filled(Order::Standard, 2, &[0, 0, 0]);
    assert_eq!(leases(&mut machine, 0), [1, 2]);
    machine.ack(2);
    assert_eq!(leases(&mut machine, 0), [3]);
    machine.ack(1);
    machine.ack(1);
    machine.ack(3);
    assert!(machine.is_empty());
}

#[test]
fn what_is_not_stored_is_not_delivered() {
    let mut machine = machine(Order::Fifo, 2);
    machine.accept(1, head(7)).unwrap();
    machine.accept(2, head(7)).unwrap();
    machine.stored(2);
    // The first one arrived first, whatever the disk does.
    assert_eq!(leases(&mut machine, 0), [] as [Number; 0]);
    machine.unstored(1);
    assert_eq!(leases(&mut machine, 0), [2]);
    machine.unstored(2);
    machine.ack(2);
    assert!(machine.is_empty());
}

#[test]
fn attempts_are_counted_and_waits_double() {
    let mut machine = filled(Order::Standard, 1, &[0]);
    let mut now = 100;
    for wait in [1000, 2000] {
        assert_eq!(leases(&mut machine, now), [1]);
        assert!(matches!(fail(&mut machine, 1, now), Verdict::Retry(_)));
        assert_eq!(machine.next_due_ms(now), Some(now + wait));
        assert_eq!(leases(&mut machine, now + wait - 1), [] as [Number; 0]);
        now += wait;
    }
    assert_eq!(leases(&mut machine, now), [1]);
    let Verdict::Bury(head) = fail(&mut machine, 1, now) else {
        panic!("three attempts are enough");
    };
    assert_eq!(head.attempts, 3);
    let dead = Counts {
        dead: 1,
        ..Counts::default()
    };
    assert_eq!(machine.counts(), dead);
}

#[test]
fn what_is_not_its_fault_costs_a_message_nothing() {
    let mut machine = filled(Order::Standard, 1, &[0]);
    for round in 0..10 {
        assert_eq!(leases(&mut machine, round * 1000), [1]);
        let verdict = machine.verdict(1, round * 1000, Failure::Uncounted, 0);
        let Some(Verdict::Retry(head)) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!((head.attempts, head.due_ms), (0, (round + 1) * 1000));
        machine.retry(1, head);
    }
}

#[test]
fn a_failing_head_holds_up_its_group_only() {
    let mut machine = filled(Order::Fifo, 4, &[1, 2, 1, 2]);
    assert_eq!(leases(&mut machine, 0), [1, 2]);
    fail(&mut machine, 1, 0);
    machine.ack(2);
    assert_eq!(leases(&mut machine, 0), [4]);
    machine.ack(4);
    assert_eq!(leases(&mut machine, 1000), [1]);
    machine.ack(1);
    assert_eq!(leases(&mut machine, 1000), [3]);
}

#[test]
fn a_released_lease_was_never_there() {
    let mut machine = filled(Order::Fifo, 1, &[1, 1]);
    assert_eq!(leases(&mut machine, 0), [1]);
    machine.release(1);
    assert_eq!(leases(&mut machine, 0), [1]);
    assert_eq!(machine.live[&1].head.attempts, 0);
}

#[test]
fn full_is_full_with_the_dead() {
    let mut machine = filled(Order::Standard, 1, &[0]);
    machine.messages_max = 2;
    leases(&mut machine, 0);
    machine.bury(1, 9, head(0));
    assert_eq!(machine.accept(2, head(0)), Ok(()));
    assert_eq!(machine.accept(3, head(0)), Err(Full));
    let lifted = machine.dead.lift(Number::MAX, 10);
    assert_eq!(machine.accept(3, head(0)), Err(Full));
    machine.dead.settle(lifted.len());
    assert_eq!(machine.accept(3, head(0)), Ok(()));
}

#[test]
fn an_older_message_from_elsewhere_comes_first() {
    let mut machine = machine(Order::Fifo, 4);
    machine.restore(5, head(1), false);
    machine.restore(3, head(1), false);
    assert_eq!(leases(&mut machine, 0), [3]);
    machine.restore(2, head(1), false);
    assert_eq!(leases(&mut machine, 0), [] as [Number; 0]);
    fail(&mut machine, 3, 0);
    assert_eq!(leases(&mut machine, 0), [2]);
}

#[test]
fn a_closed_queue_keeps_everything_and_another_order_loses_nothing() {
    let mut machine = filled(Order::Standard, 4, &[1, 1, 2]);
    machine.set_open(false);
    assert_eq!(leases(&mut machine, 0), [] as [Number; 0]);
    let fifo = Rules {
        order: Order::Fifo,
        ..machine.rules().clone()
    };
    machine.set_rules(fifo);
    machine.set_open(true);
    assert_eq!(leases(&mut machine, 0), [1, 3]);
    machine.set_open(false);
    let moved = machine.take_waiting(10);
    assert_eq!(moved, [(2, head(1))]);
}

#[test]
fn dead_letters_are_lifted_once() {
    let mut dead = Dead::default();
    for death in [4, 2, 9] {
        let id = u128::from(death);
        dead.insert(death, Head { id, ..head(0) });
    }
    assert!(dead.deaths().eq([2, 4, 9]));
    assert_eq!(dead.lift_one(4).unwrap().0, 4);
    assert_eq!(dead.lift_one(4), None);
    let lifted = dead.lift(9, 5);
    assert_eq!(lifted.len(), 1);
    assert_eq!(dead.len(), 3);
    dead.put_back(lifted);
    dead.settle(1);
    assert!(dead.deaths().eq([2, 9]));
    assert_eq!(dead.len(), 2);
}

/// One thing that may happen to a queue.
#[derive(Clone, Copy, Debug)]
enum Step {
    Accept {
        group: u128,
        priority: u8,
        delay_ms: u64,
    },
    Store {
        which: usize,
    },
    Lose {
        which: usize,
    },
    Lease,
    Ack {
        which: usize,
    },
    Fail {
        which: usize,
    },
    Release {
        which: usize,
    },
    LoseWorker {
        which: usize,
    },
    Purge {
        max: usize,
    },
    Regroup {
        most: Option<usize>,
    },
    Pass {
        ms: u64,
    },
    Reopen {
        open: bool,
    },
    BeginPage,
    EndPage,
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0_usize..8;
    prop_oneof![
        4 => (0_u128..3, 0_u8..3, prop_oneof![Just(0), 1_u64..2000]).prop_map(|(group, priority, delay_ms)| Step::Accept { group, priority, delay_ms }),
        4 => which.clone().prop_map(|which| Step::Store { which }),
        1 => which.clone().prop_map(|which| Step::Lose { which }),
        6 => Just(Step::Lease),
        3 => which.clone().prop_map(|which| Step::Ack { which }),
        3 => which.clone().prop_map(|which| Step::Fail { which }),
        1 => which.clone().prop_map(|which| Step::Release { which }),
        2 => which.prop_map(|which| Step::LoseWorker { which }),
        1 => (0_usize..3).prop_map(|max| Step::Purge { max }),
        1 => proptest::option::of(1_usize..3).prop_map(|most| Step::Regroup { most }),
        2 => (1_u64..4000).prop_map(|ms| Step::Pass { ms }),
        1 => any::<bool>().prop_map(|open| Step::Reopen { open }),
        2 => Just(Step::BeginPage),
        2 => Just(Step::EndPage),
    ]
}

/// What the outside knows; checks what it sees of the machine.
struct World {
    machine: Machine,
    now_ms: u64,
    next: Number,
    group_of: HashMap<Number, u128>,
    priority_of: HashMap<Number, u8>,
    storing: Vec<Number>,
    leased: Vec<Number>,
    /// Accepted, neither lost nor done, with failed attempts, the earliest next one, and lost workers.
    alive: BTreeMap<Number, (u32, u64, u8)>,
    heads: HashMap<Number, Head>,
    acked: HashSet<Number>,
    dead: HashSet<Number>,
    open: bool,
    disk: Disk,
}

/// More than a test has messages.
const WINDOW_LARGE: usize = 1000;

/// Some are on disk a while before the machine hears of it.
fn is_visible_early(number: Number) -> bool {
    number.is_multiple_of(2)
}

/// What the store would hold.
#[derive(Default)]
struct Disk {
    heads: BTreeMap<Number, Head>,
    due: BTreeSet<(u64, Number)>,
    /// On their way to the disk, to be found by their due time.
    aside: HashSet<Number>,
    /// The page that was read and is on its way to the machine.
    page: Option<Fetched>,
}

impl Disk {
    /// As `paging` reads the store, in pages of two.
    fn read(&mut self, fetch: Fetch, machine: &Machine) -> Fetched {
        let mut fetched = Fetched::default();
        match fetch {
            Fetch::Ready {
                priority,
                from,
                upto,
            } => {
                for (number, head) in self.heads.range(from..=upto) {
                    if fetched.found.len() == 2 {
                        fetched.next = Some(*number);
                        break;
                    }
                    if head.priority == priority && head.due_ms == 0 {
                        fetched.found.push((*number, *head));
                    }
                }
            }
            Fetch::Due { upto_ms } => {
                for (due_ms, number) in self.due.clone() {
                    if due_ms > upto_ms || fetched.found.len() == 2 {
                        fetched.next = Some(due_ms);
                        break;
                    }
                    if !machine.is_in_memory(number) {
                        self.due.remove(&(due_ms, number));
                        fetched.found.push((number, self.heads[&number]));
                    }
                }
            }
        }
        fetched
    }
}

impl World {
    fn new(order: Order, concurrency: usize, window: usize) -> Self {
        let mut machine = machine(order, concurrency);
        machine.window = window;
        World {
            machine,
            now_ms: 1,
            next: 1,
            group_of: HashMap::new(),
            priority_of: HashMap::new(),
            storing: Vec::new(),
            leased: Vec::new(),
            alive: BTreeMap::new(),
            heads: HashMap::new(),
            acked: HashSet::new(),
            dead: HashSet::new(),
            open: true,
            disk: Disk::default(),
        }
    }

    fn pick(from: &mut Vec<Number>, which: usize) -> Option<Number> {
        (!from.is_empty()).then(|| from.remove(which % from.len()))
    }

    fn act(&mut self, step: Step) {
        match step {
            Step::Accept {
                group,
                priority,
                delay_ms,
            } => {
                let number = self.next;
                self.next += 1;
                let due_ms = match delay_ms {
                    0 => 0,
                    delay_ms => self.now_ms + delay_ms,
                };
                let head = Head {
                    due_ms,
                    priority,
                    ..head(group)
                };
                if due_ms > 0 && self.machine.is_crowded() {
                    self.disk.aside.insert(number);
                }
                self.machine.accept(number, head).unwrap();
                self.heads.insert(number, head);
                if is_visible_early(number) {
                    self.write(number);
                }
                self.group_of.insert(number, group);
                self.priority_of.insert(number, priority);
                self.alive.insert(number, (0, due_ms, 0));
                self.storing.push(number);
            }
            Step::Store { which } => {
                if let Some(number) = Self::pick(&mut self.storing, which) {
                    self.store(number);
                }
            }
            Step::Lose { which } => match Self::pick(&mut self.storing, which) {
                Some(number) if is_visible_early(number) => self.store(number),
                Some(number) => {
                    self.machine.unstored(number);
                    self.alive.remove(&number);
                }
                None => {}
            },
            Step::Lease => self.lease(),
            Step::Ack { which } => {
                if let Some(number) = Self::pick(&mut self.leased, which) {
                    // Deleted only when the last steps are: a page may bring it meanwhile.
                    self.machine.ack(number);
                    self.alive.remove(&number);
                    assert!(self.acked.insert(number), "{number} was acknowledged twice");
                }
            }
            Step::Fail { which } => {
                if let Some(number) = Self::pick(&mut self.leased, which) {
                    self.fail(number);
                }
            }
            Step::Release { which } => {
                if let Some(number) = Self::pick(&mut self.leased, which) {
                    self.machine.release(number);
                }
            }
            Step::LoseWorker { which } => {
                if let Some(number) = Self::pick(&mut self.leased, which) {
                    self.lose_worker(number);
                }
            }
            Step::Purge { max } => {
                for (number, _) in self.machine.take_waiting(max) {
                    self.disk.heads.remove(&number);
                    assert!(!self.leased.contains(&number) && !self.storing.contains(&number));
                    self.alive.remove(&number).unwrap();
                }
            }
            Step::Regroup { most } => {
                let rules = Rules {
                    group_concurrency: most,
                    ..self.machine.rules().clone()
                };
                self.machine.set_rules(rules);
            }
            Step::Pass { ms } => self.now_ms += ms,
            Step::Reopen { open } => {
                self.open = open;
                self.machine.set_open(open);
            }
            Step::BeginPage => self.begin_page(),
            Step::EndPage => self.end_page(),
        }
        let counts = self.machine.counts();
        assert_eq!(counts.depth, self.alive.len());
        assert_eq!(counts.leased, self.leased.len());
        assert_eq!(counts.dead, self.dead.len());
    }

    fn write(&mut self, number: Number) {
        let head = self.heads[&number];
        self.disk.heads.insert(number, head);
        if self.disk.aside.contains(&number) {
            self.disk.due.insert((head.due_ms, number));
        }
    }

    fn store(&mut self, number: Number) {
        if !is_visible_early(number) {
            self.write(number);
        }
        match self.disk.aside.remove(&number) {
            true => self.machine.stored_aside(number),
            false => self.machine.stored(number),
        }
    }

    /// What a failed attempt writes, and then says.
    fn retry(&mut self, number: Number, head: Head) {
        self.disk.heads.insert(number, head);
        match head.due_ms > 0 && self.machine.is_crowded() {
            true => {
                self.disk.due.insert((head.due_ms, number));
                self.machine.set_aside(number, &head);
            }
            false => self.machine.retry(number, head),
        }
    }

    fn begin_page(&mut self) {
        if let Some(fetch) = self.machine.wanted(self.now_ms) {
            self.machine.begin(fetch);
            self.disk.page = Some(self.disk.read(fetch, &self.machine));
        }
    }

    fn end_page(&mut self) {
        if let Some(page) = self.disk.page.take() {
            self.machine.end(page, 0);
        }
    }

    /// As `Line::load`, to the end.
    fn load(&mut self) {
        self.end_page();
        while self.machine.wanted(self.now_ms).is_some() {
            self.begin_page();
            self.end_page();
        }
    }

    fn lease(&mut self) {
        self.load();
        let ready = self.ready();
        let could = self.open && self.leased.len() < self.machine.rules().concurrency;
        let Some(lease) = self.machine.lease(self.now_ms) else {
            assert!(!could || ready.is_empty(), "nobody leases {ready:?}");
            return;
        };
        let number = lease.number;
        assert!(could, "a closed or busy queue leased {number}");
        let first = ready
            .iter()
            .min_by_key(|number| (u8::MAX - self.priority_of[number], **number));
        // Of more that are due than there is room for, the first to be due go first.
        let was_delayed = |number: &Number| self.alive[number].1 > 0;
        let is_small = self.machine.window < WINDOW_LARGE;
        let is_first = first == Some(&number) || (is_small && first.is_some_and(was_delayed));
        assert!(is_first, "{number} of {ready:?}");
        assert!(ready.contains(&number), "{number} of {ready:?}");
        let (attempts, _, losses) = self.alive[&number];
        assert_eq!((lease.head.attempts, lease.head.losses), (attempts, losses));
        self.leased.push(number);
    }

    /// Those that could be leased, by what the outside knows.
    fn ready(&self) -> Vec<Number> {
        let busy = |group: u128| {
            let leased = self.leased.iter();
            leased
                .filter(|leased| self.group_of[leased] == group)
                .count()
        };
        let alive = self.alive.iter();
        let due = alive.filter(|(_, (_, due_ms, _))| *due_ms <= self.now_ms);
        let free = due.map(|(number, _)| *number).filter(|number| {
            let group = self.group_of[number];
            let mut older = self.alive.range(..number);
            !self.storing.contains(number)
                && !self.leased.contains(number)
                && match self.machine.rules().grouping() {
                    Grouping::None => true,
                    Grouping::AtMost(most) => busy(group) < most,
                    Grouping::InOrder => !older.any(|(older, _)| self.group_of[older] == group),
                }
        });
        free.collect()
    }

    fn lose_worker(&mut self, number: Number) {
        let (attempts, _, losses) = self.alive[&number];
        let verdict = self
            .machine
            .verdict(number, self.now_ms, Failure::Lost, 0)
            .unwrap();
        match verdict {
            Verdict::Retry(head) if losses < LOSSES_MAX => {
                assert_eq!(
                    (head.attempts, head.losses, head.due_ms),
                    (attempts, losses + 1, 0)
                );
                self.retry(number, head);
                self.alive.insert(number, (attempts, 0, losses + 1));
            }
            _ => self.fail(number),
        }
    }

    fn fail(&mut self, number: Number) {
        let (attempts, _, losses) = self.alive[&number];
        let attempts = attempts + 1;
        let verdict = self
            .machine
            .verdict(number, self.now_ms, Failure::Counted, 0)
            .unwrap();
        match verdict {
            Verdict::Retry(head) => {
                self.retry(number, head);
                assert_eq!(head.attempts, attempts);
                assert!(attempts < self.machine.rules().max_retries);
                self.alive.insert(number, (attempts, head.due_ms, losses));
            }
            Verdict::Bury(head) => {
                self.machine.bury(number, number + 1000, head);
                assert_eq!((head.attempts, attempts), (3, 3));
                self.alive.remove(&number);
                assert!(self.dead.insert(number), "{number} died twice");
            }
        }
    }

    /// Everything that can be delivered is, and what fails fails to the end.
    fn finish(&mut self) {
        self.act(Step::Reopen { open: true });
        while !self.storing.is_empty() {
            self.act(Step::Store { which: 0 });
        }
        while !self.alive.is_empty() {
            let before = self.leased.len();
            self.act(Step::Lease);
            if self.leased.len() > before && self.leased.len() < 4 {
                continue;
            }
            match self.leased.first().map(|number| number % 3) {
                Some(0) => self.act(Step::Fail { which: 0 }),
                Some(_) => self.act(Step::Ack { which: 0 }),
                None => {
                    let due = self.machine.next_due_ms(self.now_ms);
                    let due = due.expect("what is alive and not leased has a time");
                    assert!(due > self.now_ms, "what is due was not leased");
                    self.now_ms = due;
                }
            }
        }
        let ended = self.acked.len() + self.dead.len();
        assert!(self.acked.is_disjoint(&self.dead));
        assert_eq!(self.machine.counts().dead, self.dead.len());
        assert!(ended <= self.group_of.len());
        assert!(self.machine.groups.is_empty() && self.machine.ready.is_empty());
        assert!(self.machine.delayed.is_empty() && self.machine.is_whole());
    }
}

proptest! {
    /// Order within groups and their bounds hold, priorities are kept, nothing is early, doubled or
    /// forgotten, what can be leased is, and every message that was stored ends acknowledged, dead or
    /// purged, once.
    #[test]
    fn every_message_ends_once_and_in_order(
        fifo: bool,
        most in proptest::option::of(1_usize..3),
        concurrency in 1_usize..4,
        window in prop_oneof![Just(1_usize), Just(4), Just(WINDOW_LARGE)],
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let order = if fifo { Order::Fifo } else { Order::Standard };
        let mut world = World::new(order, concurrency, window);
        world.act(Step::Regroup { most });
        for step in steps {
            world.act(step);
        }
        world.finish();
    }
}
