//! Sixty requests and the tier that people gave them.

use super::*;

const SIMPLE: [&str; 20] = [
    "hi",
    "hello there!",
    "thanks",
    "what is the capital of France?",
    "what time is it in Tokyo?",
    "translate 'good morning' to Spanish",
    "who wrote Hamlet?",
    "yes",
    "ok, do it",
    "what's 17 + 25?",
    "spell necessary",
    "is water wet?",
    "good night",
    "tell me a joke",
    "what does HTTP stand for?",
    "how many days are in a leap year?",
    "name three fruits",
    "when was Einstein born?",
    "what colour is the sky?",
    "say it again please",
];
const MEDIUM: [&str; 20] = [
    "Write a short email to my landlord about the broken heating.",
    "Explain how photosynthesis works.",
    "Summarize this paragraph: cats sleep most of the day and hunt at dusk.",
    "What is the difference between TCP and UDP?",
    "Write a function that reverses a string in Python.",
    "Compare tea and coffee.",
    "Draft a birthday message for a colleague.",
    "Describe the plot of Moby Dick.",
    "Why is the sky blue?",
    "Convert this list to JSON: apples, pears, plums",
    "How do vaccines work?",
    "Write a SQL query that counts users by country.",
    "Suggest five names for a bakery.",
    "Outline a talk about recycling.",
    "Explain recursion to a child.",
    "How does a refrigerator cool?",
    "Plan a picnic for four people.",
    "Review this sentence for grammar: he go to school.",
    "Write a haiku about autumn.",
    "How can I sleep better?",
];
const COMPLEX: [&str; 20] = [
    "Prove that there are infinitely many primes, and derive a bound for the n-th one.",
    "Design a distributed rate limiter for a multi-region API and discuss the trade-offs.",
    "Refactor this module to remove the race condition:\n```rust\nfn a() {}\n```",
    "Debug why this concurrent queue loses messages:\n```go\nfunc f() {}\n```",
    "Implement an LRU cache with O(1) operations from scratch and analyse its complexity.",
    "Analyse the root cause of the outage and evaluate three strategies to prevent it.",
    "Derive the equations of motion of a double pendulum step by step.",
    "Architect a migration from a monolith to services, with a comprehensive plan for the data.",
    "Write a formal proof of correctness of this algorithm for merging intervals.",
    "Evaluate the threat model of this design and write an in depth security review.",
    "Optimize this query and explain the plan:\n```sql\nselect * from a join b using (id)\n```",
    "Implement a parser for arithmetic and prove that it terminates.",
    "Design the architecture of a payment system that survives the loss of a region.",
    "Simulate an epidemic on a network and analyse how the result depends on the degree distribution.",
    "Find the deadlock in these three threads and design a fix.",
    "Compute the integral of exp(-x^2) and derive the result by two methods, step by step.",
    "Research the trade-offs between Raft and Paxos and evaluate them for our system.",
    "Implement a distributed lock and analyse its failure modes.",
    "Refactor def f(x): return x into a concurrent pipeline and debug the tests.",
    "Develop a comprehensive strategy for entering the Japanese market, with an evaluation of the risks.",
];

#[test]
fn most_requests_get_the_tier_that_people_gave_them() {
    let sets = [
        (Tier::Simple, &SIMPLE),
        (Tier::Medium, &MEDIUM),
        (Tier::Complex, &COMPLEX),
    ];
    let mut wrong = Vec::new();
    for (expect, texts) in sets {
        for text in texts {
            let (tier, why) = tier(&[Message::user(*text)]);
            if tier != expect {
                wrong.push((*text, tier, why));
            }
        }
    }
    assert!(wrong.len() <= 9, "{} of 60: {wrong:#?}", wrong.len());
}
