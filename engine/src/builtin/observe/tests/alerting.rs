//! Alerts that go off.

use super::*;

fn alert(action: Action) -> Config {
    let alert = Alert {
        name: "errors".to_owned(),
        metric: "iii.invocations.error".to_owned(),
        threshold: 0.0,
        operator: Operator::Above,
        window_seconds: 4,
        cooldown_seconds: 60,
        enabled: true,
        action,
    };
    Config {
        alerts: vec![alert],
        ..quiet()
    }
}

#[tokio::test]
async fn the_timer_evaluates_and_calls_the_function() {
    let (tell, mut heard) = mpsc::channel(10);
    let action = Action::Function {
        path: "test::page".to_owned(),
    };
    let rig = Rig::with(alert(action), move |registrar| {
        let tell = tell.clone();
        registrar.function("test::page", move |_, event: Value| {
            let sent = tell.try_send(event);
            async move {
                sent.unwrap();
                Ok(())
            }
        });
    })
    .await;
    let listed = rig.call("engine::alerts::list", json!({})).await;
    assert_eq!(
        (
            &listed["alerts"][0]["firing"],
            &listed["alerts"][0]["last_triggered"]
        ),
        (&json!(false), &json!(null))
    );
    let _: Result<Value, Error> = rig.bus.trigger("test::nobody", &json!(1)).await;
    let event = next(&mut heard).await;
    assert_eq!(
        (&event["name"], &event["value"], &event["operator"]),
        (&json!("errors"), &json!(1.0), &json!(">"))
    );
    let listed = rig.call("engine::alerts::list", json!({})).await;
    assert_eq!(
        (
            &listed["alerts"][0]["firing"],
            &listed["alerts"][0]["triggered_count"]
        ),
        (&json!(true), &json!(1))
    );
}

#[tokio::test]
async fn on_demand_too_and_into_the_log() {
    let rig = Rig::with(alert(Action::Log), |_| {}).await;
    assert_eq!(
        rig.call("engine::alerts::evaluate", json!({})).await["triggered"],
        json!([])
    );
    let _: Result<Value, Error> = rig.bus.trigger("test::nobody", &json!(1)).await;
    let answer = rig.call("engine::alerts::evaluate", json!({})).await;
    assert_eq!(answer["triggered"], json!(["errors"]));
    assert_eq!(answer["alerts"][0]["current_value"], 1.0);
    assert_eq!(
        rig.call("engine::alerts::evaluate", json!({})).await["triggered"],
        json!([]),
        "cooling down"
    );
    let logs = rig
        .call("engine::logs::list", json!({ "severity_text": "warn" }))
        .await;
    assert_eq!(logs["logs"][0]["attributes"]["name"], "errors");
}
