//! Sets tracing up: what the engine says about itself goes to standard error.

use std::io::{self, IsTerminal, Write};

use agentos_engine::{
    boot::Relog,
    config::{Format, Level, Log},
};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use super::progress::Lines;

/// Sets it up, and gives the way to change the level while the engine runs. The format stays.
pub(super) fn set_up(log: &Log, lines: Lines) -> Relog {
    let (filter, handle) = reload::Layer::new(filter_of(log.level));
    let registry = tracing_subscriber::registry().with(filter);
    let colours = io::stderr().is_terminal()
        && anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(lines)
        .with_ansi(colours);
    match log.format {
        Format::Text => registry.with(layer).init(),
        Format::Json => registry.with(layer.json()).init(),
    }
    let format = log.format;
    Box::new(move |log| log.format == format && handle.reload(filter_of(log.level)).is_ok())
}

fn filter_of(level: Level) -> Targets {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    // Libraries are heard when they warn; all of them when somebody asks for `trace`.
    let others = if level == LevelFilter::TRACE {
        level
    } else {
        level.min(LevelFilter::WARN)
    };
    Targets::new()
        .with_default(others)
        .with_target("agentos", level)
        // They would show bytes as they pass, secrets among them.
        .with_target("tungstenite", level.min(LevelFilter::DEBUG))
        .with_target("tokio_tungstenite", level.min(LevelFilter::DEBUG))
        .with_target("hyper", level.min(LevelFilter::DEBUG))
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Writer<'a> {
        Writer(self)
    }
}

/// Writes around the spinners.
pub(super) struct Writer<'a>(&'a Lines);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.around(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
