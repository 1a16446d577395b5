//! Creating, finding, changing and removing agents.

use std::sync::Arc;

use agentos_agent::{Agents, Config};
use agentos_contract::{
    agent::*,
    testing::{Hub, State},
};
use agentos_sdk::{Bus, Code, Error};
use serde_json::{Value, json};

/// The hub must outlive its bus.
async fn hub(state: &Arc<State>) -> (Hub, Bus) {
    let hub = Hub::with_state(Arc::clone(state)).await;
    let seat = hub.join(Agents::new(Config::default())).await;
    (hub, seat.bus)
}

async fn create(bus: &Bus, request: Value) -> Result<Created, Error> {
    bus.trigger(CREATE, &request).await
}

async fn ids(bus: &Bus) -> Vec<String> {
    let agents: Vec<Agent> = bus.trigger(LIST, &json!({})).await.unwrap();
    agents.into_iter().map(|agent| agent.id).collect()
}

#[tokio::test]
async fn agents_survive_a_restart() {
    let state = State::new();
    let (_hub, bus) = hub(&state).await;
    let made = create(
        &bus,
        json!({"name": "Ada's Helper", "model": {"provider": "p", "model": "m", "maxTokens": 9}}),
    )
    .await
    .unwrap();
    assert_eq!(made.agent_id, "ada-s-helper");
    assert_eq!(
        (made.agent.model.as_str(), made.agent.max_tokens),
        ("p/m", Some(9))
    );
    let (_hub, bus) = hub(&state).await;
    assert_eq!(ids(&bus).await, ["ada-s-helper", "assistant"]);
    let by_name: Agent = bus
        .trigger(GET, &json!({"name": "Ada's Helper"}))
        .await
        .unwrap();
    assert_eq!(by_name, made.agent);
}

#[tokio::test]
async fn a_name_is_given_once() {
    let (_hub, bus) = hub(&State::new()).await;
    create(&bus, json!({"name": "ada"})).await.unwrap();
    for request in [
        json!({"name": "ada"}),
        json!({"name": "other", "id": "ada"}),
        json!({"name": "assistant"}),
    ] {
        assert_eq!(
            create(&bus, request).await.unwrap_err().code,
            Code::Conflict
        );
    }
    let both = tokio::join!(
        create(&bus, json!({"name": "bob"})),
        create(&bus, json!({"name": "bob"}))
    );
    assert_eq!(usize::from(both.0.is_ok()) + usize::from(both.1.is_ok()), 1);
}

#[tokio::test]
async fn what_is_not_given_stays() {
    let (_hub, bus) = hub(&State::new()).await;
    create(
        &bus,
        json!({"name": "ada", "systemPrompt": "old", "temperature": 0.5}),
    )
    .await
    .unwrap();
    let changed: Agent = bus
        .trigger(
            UPDATE,
            &json!({"agentId": "ada", "systemPrompt": "new", "maxIterations": 3}),
        )
        .await
        .unwrap();
    assert_eq!(
        (
            changed.system_prompt.as_str(),
            changed.temperature,
            changed.max_iterations
        ),
        ("new", Some(0.5), Some(3))
    );
}

#[tokio::test]
async fn removing_takes_conversations_along() {
    let state = State::new();
    let (_hub, bus) = hub(&state).await;
    create(&bus, json!({"name": "ada"})).await.unwrap();
    let row = json!({"scope": "sessions:ada", "key": "s/0", "value": {"at": 0, "messages": []}});
    let _: Value = bus.trigger("state::set", &row).await.unwrap();
    let gone: Deleted = bus
        .trigger(DELETE, &json!({"agentId": "ada"}))
        .await
        .unwrap();
    assert!(
        gone.deleted && state.scope("sessions:ada").is_empty() && state.scope("agents").is_empty()
    );
    let error = bus
        .trigger::<Value>(DELETE, &json!({"agentId": "ada"}))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code, error.reason.as_deref()),
        (Code::NotFound, Some(UNKNOWN_AGENT))
    );
}

#[tokio::test]
async fn a_built_in_can_be_changed_and_changed_back() {
    let (_hub, bus) = hub(&State::new()).await;
    let error = bus
        .trigger::<Value>(DELETE, &json!({"agentId": "assistant"}))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Forbidden);
    let changed: Agent = bus
        .trigger(UPDATE, &json!({"agentId": "assistant", "model": "p/m"}))
        .await
        .unwrap();
    assert!(
        changed.built_in
            && changed
                .capabilities
                .functions
                .contains(&"file::read".to_owned())
    );
    let _: Deleted = bus
        .trigger(DELETE, &json!({"agentId": "assistant"}))
        .await
        .unwrap();
    let back: Agent = bus
        .trigger(GET, &json!({"agentId": "assistant"}))
        .await
        .unwrap();
    assert_eq!(back.model, "");
}

#[tokio::test]
async fn bad_agents_are_refused_with_the_field() {
    let (_hub, bus) = hub(&State::new()).await;
    let check = async |request: Value, field: &str| {
        let error = create(&bus, request).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidInput, "{error}");
        assert!(error.message.contains(field), "{error}");
    };
    check(json!({"name": " "}), "name").await;
    check(json!({"name": "a/b"}), "name").await;
    check(json!({"name": "x", "id": "A B"}), "id").await;
    check(json!({"name": "x", "maxIterations": 0}), "maxIterations").await;
    check(
        json!({"name": "x", "capabilities": {"functions": [""]}}),
        "capabilities.functions",
    )
    .await;
    check(
        json!({"name": "x", "capabilities": {"network": []}}),
        "network",
    )
    .await;
    check(json!({"name": "x", "resources": {}}), "resources").await;
}
