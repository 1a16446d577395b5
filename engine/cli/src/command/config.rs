//! `agentos config check`: what a settings file asks for. Reads, and starts nothing.

use std::path::PathBuf;

use agentos_engine::config::{self, Address, Overrides, ProcessEnv, Report, Weight};

use crate::{
    args::{Auth, Common},
    failure::Failure,
    screen::{Cell, DIM, Screen, YELLOW, styled},
};

pub(crate) fn check(
    file: Option<PathBuf>,
    auth: Option<Auth>,
    common: &Common,
    screen: &Screen,
) -> Result<(), Failure> {
    let file = file.unwrap_or_else(|| config::FILE_DEFAULT.into());
    let overrides = Overrides {
        data_dir: common.data_dir.clone(),
        auth: auth.map(Into::into),
        ..Overrides::default()
    };
    let settings = config::load(Some(&file), &overrides, &ProcessEnv)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let report = config::report(&settings);
    if screen.json {
        screen.value(&report);
        return Ok(());
    }
    show(&report, &file.display().to_string(), *screen);
    Ok(())
}

fn show(report: &Report, file: &str, screen: Screen) {
    let form = match report.form {
        "iii" => "a file of iii",
        _ => "a file of AgentOS",
    };
    screen.line(format!("{file} is right: {form}\n"));
    let rows: Vec<Vec<Cell>> = report.listeners.iter().map(row).collect();
    screen.table(&["  LISTENER", "ADDRESS", "WHO MAY COME IN"], &rows);
    screen.line("");
    let data = report.data_dir.display().to_string();
    let lines = [
        ("built-ins", report.modules.join(", ")),
        ("workers", report.workers.join(", ")),
        ("processes", report.processes.join(", ")),
        ("data", data),
    ];
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        screen.line(format!("  {}  {value}", styled(DIM, format!("{name:<9}"))));
    }
    for remark in &report.remarks {
        screen.line("");
        match remark.weight {
            Weight::Warning => screen.line(format!("{}: {remark}", styled(YELLOW, "warning"))),
            Weight::Note => screen.line(format!("{}: {remark}", styled(DIM, "note"))),
        }
    }
}

fn row(listener: &Address) -> Vec<Cell> {
    let who = match listener.auth.as_str() {
        "token" => "whoever shows the token".to_owned(),
        "none" => "anybody on this machine".to_owned(),
        function => format!("whom {function} lets in"),
    };
    let who = match &listener.middleware {
        Some(middleware) => format!("{who}; calls go to {middleware}"),
        None => who,
    };
    vec![
        Cell::new(format!("  {}", listener.what)),
        Cell::new(listener.address),
        Cell::new(who),
    ]
}
