use super::*;

fn listed(ids: &[&str]) -> Vec<Listed> {
    ids.iter()
        .map(|id| Listed {
            id: (*id).to_owned(),
            description: None,
            request_format: None,
        })
        .collect()
}

fn names(ids: &[&str], patterns: &[&str]) -> String {
    let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
    let toolbox = Toolbox::new(listed(ids), &patterns, 128);
    toolbox
        .tools
        .iter()
        .filter_map(Tool::name)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn only_what_a_capability_names_is_offered() {
    let ids = ["file::read", "file::write", "web::fetch", "greet"];
    assert_eq!(names(&ids, &[]), "");
    assert_eq!(names(&ids, &[""]), "");
    assert_eq!(names(&ids, &["file::*"]), "file__read file__write");
    assert_eq!(names(&ids, &["*::fetch", "greet"]), "greet web__fetch");
    assert_eq!(names(&ids, &["file::rea"]), "");
    assert_eq!(
        names(&ids, &["*"]),
        "file__read file__write greet web__fetch"
    );
}

#[test]
fn the_system_is_offered_only_to_those_who_name_it() {
    let ids = [
        "engine::functions::list",
        "agent::chat",
        "llm::complete",
        "state::set",
        "api::chat",
    ];
    assert_eq!(names(&ids, &["*", "*::*", "*::chat", "ag*"]), "");
    assert_eq!(
        names(&ids, &["agent::chat", "engine::*"]),
        "agent__chat engine__functions__list"
    );
}

#[test]
fn what_is_missing_or_too_much_is_said() {
    let patterns = ["a::x", "b::*", "c::*"].map(str::to_owned);
    let toolbox = Toolbox::new(listed(&["b::1", "b::2", "b::3"]), &patterns, 2);
    assert_eq!(toolbox.tools.len(), 2);
    assert_eq!(
        toolbox.notices,
        [
            "no worker offers `a::x`, which this agent may call",
            "no worker offers `c::*`, which this agent may call",
            "3 functions are allowed and 2 are offered: name fewer"
        ]
    );
}

fn one(id: &str, schema: Value) -> (Function, Value) {
    let function = Listed {
        request_format: Some(schema),
        ..listed(&[id]).remove(0)
    };
    let toolbox = Toolbox::new(vec![function], &[id.to_owned()], 9);
    let tool = toolbox.tools[0].function.clone().unwrap();
    (
        toolbox.find(&tool.name).unwrap().clone(),
        tool.parameters.unwrap(),
    )
}

#[test]
fn arguments_become_the_input() {
    let schema = json!({"$schema": "x", "type": "object", "properties": {"b": {}, "a": {}}});
    let (function, shown) = one("f", schema);
    assert_eq!(
        shown.to_string(),
        r#"{"type":"object","properties":{"b":{},"a":{}}}"#
    );
    assert_eq!(
        function.input(r#"{"b":9007199254740993}"#, "me").unwrap(),
        json!({"b": 9_007_199_254_740_993_u64})
    );
    assert_eq!(function.input("", "me").unwrap(), json!({}));
    assert!(
        function
            .input("{\"b\":", "me")
            .unwrap_err()
            .contains("not valid JSON")
    );
    assert!(
        function
            .input("[1]", "me")
            .unwrap_err()
            .contains("one JSON object")
    );
}

#[test]
fn an_input_that_is_no_object_is_wrapped() {
    let (function, shown) = one("hello::greet", json!({"type": "string"}));
    assert_eq!(shown["required"], json!(["input"]));
    assert_eq!(
        function.input(r#"{"input":"Ada"}"#, "me").unwrap(),
        json!("Ada")
    );
    let (function, shown) = one("any", json!({}));
    assert_eq!(shown, json!({"type": "object", "properties": {}}));
    assert_eq!(
        function.input(r#"{"input":"Ada"}"#, "me").unwrap(),
        json!({"input": "Ada"})
    );
}

#[test]
fn an_agent_reaches_only_its_own_memory() {
    let schema = json!({"type": "object", "properties": {"agentId": {}, "query": {}}, "required": ["agentId", "query"]});
    let (function, shown) = one("memory::recall", schema);
    assert_eq!(
        shown,
        json!({"type": "object", "properties": {"query": {}}, "required": ["query"]})
    );
    let input = function
        .input(r#"{"query":"x","agentId":"somebody else"}"#, "me")
        .unwrap();
    assert_eq!(input["agentId"], "me");
}

#[test]
fn an_unknown_tool_is_answered_with_those_there_are() {
    let toolbox = Toolbox::new(listed(&["a::b", "c"]), &["*".to_owned()], 9);
    assert_eq!(
        toolbox.find("d").unwrap_err(),
        "error: there is no tool `d`; the tools are a__b, c"
    );
    assert_eq!(
        Toolbox::default().find("d").unwrap_err(),
        "error: there is no tool `d`; there are none"
    );
}
