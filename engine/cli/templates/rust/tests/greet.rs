#[test]
fn greets_by_name() {
    assert_eq!({{module}}::greet("Ada"), "hello Ada");
}
