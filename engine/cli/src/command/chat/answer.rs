//! An answer on the terminal: texts as they come, tools as they run.

use agentos_contract::agent::{Approval, ApprovalStatus, ChatReply, Event, StopReason};

use crate::screen::{DIM, GREEN, RED, Screen, YELLOW, styled};

/// Most of a tool's arguments and results that is shown.
const PREVIEW_CHARS: usize = 100;

/// An answer on its way to the screen.
pub(super) struct Answer {
    screen: Screen,
    /// The cursor stands in the middle of a line.
    mid_line: bool,
    /// Some of the text was shown.
    spoke: bool,
}

impl Answer {
    pub(super) fn new(screen: Screen) -> Self {
        Answer {
            screen,
            mid_line: false,
            spoke: false,
        }
    }

    pub(super) fn show(&mut self, event: Event) {
        match event {
            Event::Text { text } => {
                self.screen.text(&text);
                self.spoke = true;
                self.mid_line = !text.ends_with('\n');
            }
            Event::Reasoning { text } => {
                self.screen.text(&styled(DIM, &text));
                self.mid_line = !text.ends_with('\n');
            }
            Event::ToolStart {
                name, arguments, ..
            } => {
                self.end_line();
                self.screen
                    .line(styled(DIM, format!("→ {name} {}", preview(&arguments))));
            }
            Event::ToolEnd {
                name,
                ok,
                duration_ms,
                preview: result,
                ..
            } => {
                self.end_line();
                let mark = if ok {
                    styled(GREEN, "✓")
                } else {
                    styled(RED, "✗")
                };
                self.screen.line(format!(
                    "{mark} {}",
                    styled(
                        DIM,
                        format!("{name} {duration_ms} ms  {}", preview(&result))
                    )
                ));
            }
            Event::Start { .. }
            | Event::ApprovalNeeded(_)
            | Event::ApprovalDecided(_)
            | Event::Usage(_)
            | Event::Finish { .. } => {}
        }
    }

    /// `here`: the answer is typed here and now.
    pub(super) fn ask(&mut self, approval: &Approval, here: bool) {
        self.end_line();
        let call = format!("{} {}", approval.name, preview(&approval.arguments));
        // Where it is answered here, the prompt says it.
        if !here {
            self.screen
                .remark(format!("{} {call}", styled(YELLOW, "waits for a yes:")));
            self.screen.remark(styled(
                DIM,
                format!("agentos agent approve {}", approval.id),
            ));
        }
    }

    pub(super) fn decided(&mut self, approval: &Approval) {
        self.end_line();
        let word = match approval.status {
            ApprovalStatus::Approved => styled(GREEN, "allowed"),
            ApprovalStatus::Denied => styled(RED, "refused"),
            _ => styled(RED, "nobody answered"),
        };
        self.screen
            .line(format!("{word} {}", styled(DIM, &approval.name)));
    }

    pub(super) fn end_line(&mut self) {
        if std::mem::take(&mut self.mid_line) {
            self.screen.line("");
        }
    }

    /// What the stream did not say.
    pub(super) fn conclude(&self, reply: &ChatReply) {
        if !self.spoke && !reply.content.is_empty() {
            self.screen.line(&reply.content);
        }
        for notice in &reply.notices {
            self.screen.remark(styled(DIM, format!("note: {notice}")));
        }
        if reply.stop_reason != StopReason::Stop {
            let reason = serde_json::to_value(reply.stop_reason).unwrap_or_default();
            self.screen.remark(styled(
                YELLOW,
                format!(
                    "the answer is not complete: {}",
                    crate::screen::plain(&reason)
                ),
            ));
        }
    }
}

/// What a person is asked before a tool is run.
pub(super) fn question(approval: &Approval) -> String {
    format!(
        "allow? {} {} [y/N] ",
        approval.name,
        preview(&approval.arguments)
    )
}

/// The beginning of `text` on one line.
pub(super) fn preview(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(PREVIEW_CHARS) {
        line.truncate(end);
        line.push('…');
    }
    line
}
