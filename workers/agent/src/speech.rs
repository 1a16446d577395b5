//! What an agent says in one answer: pieces on their way out, and all of them together.

/// Collects pieces; replies of the model between tool calls are set apart by an empty line.
///
/// What may turn out to be a tool call in words is held back until it is clear what it is.
#[derive(Default)]
pub(crate) struct Speech {
    said: String,
    /// The reply so far, while it may be a call.
    held: Option<String>,
    /// Where the reply that is being said begins.
    reply: usize,
    /// How far the conversation has it.
    heard: usize,
    pub(crate) reasoning: String,
}

impl Speech {
    /// The model begins another reply. `may_call`: it may write a call as text.
    pub(crate) fn next_reply(&mut self, may_call: bool) {
        self.reply = self.said.len();
        self.held = may_call.then(String::new);
    }

    /// The model goes on where its limit of tokens cut it off.
    pub(crate) fn go_on(&mut self) {
        self.held = None;
    }

    /// Takes a piece; gives back what is to be sent for it.
    pub(crate) fn say(&mut self, piece: &str) -> String {
        if let Some(held) = &mut self.held {
            held.push_str(piece);
            if crate::words::may_be_call(held) {
                return String::new();
            }
            let held = self.held.take().unwrap_or_default();
            return self.take_in(&held);
        }
        self.take_in(piece)
    }

    /// Whether something is held back.
    pub(crate) fn holds(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.is_empty())
    }

    /// What was held back was no call.
    pub(crate) fn let_go(&mut self) -> String {
        let held = self.held.take().unwrap_or_default();
        self.take_in(&held)
    }

    /// What was held back was a call; nobody is to hear it.
    pub(crate) fn swallow(&mut self) {
        self.held = None;
    }

    fn take_in(&mut self, piece: &str) -> String {
        let start = self.said.len();
        if start == self.reply && start > 0 && !piece.is_empty() {
            self.said.push_str("\n\n");
            self.reply = self.said.len();
        }
        self.said.push_str(piece);
        self.said[start..].to_owned()
    }

    /// What was said so far is in the conversation.
    pub(crate) fn heard(&mut self) {
        self.heard = self.said.len();
    }

    /// What was said in the reply under way.
    pub(crate) fn unfinished(&self) -> &str {
        &self.said[self.reply.max(self.heard)..]
    }

    pub(crate) fn said(&self) -> &str {
        &self.said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_sent_are_the_whole() {
        let mut speech = Speech::default();
        let mut sent = String::new();
        for reply in [&["a", "b"][..], &[], &["", "c"], &["d"]] {
            speech.next_reply(false);
            for piece in reply {
                sent += &speech.say(piece);
            }
            assert_eq!(speech.unfinished(), reply.concat());
        }
        assert_eq!(sent, "ab\n\nc\n\nd");
        assert_eq!(speech.said(), sent);
    }

    #[test]
    fn what_may_be_a_call_is_held_back() {
        let mut speech = Speech::default();
        speech.next_reply(true);
        assert_eq!(speech.say("<tool"), "");
        assert_eq!(speech.say("box> is a word"), "<toolbox> is a word");
        speech.next_reply(true);
        assert_eq!(speech.say("<tool_call>{"), "");
        assert_eq!(speech.let_go(), "\n\n<tool_call>{");
        speech.next_reply(true);
        assert_eq!(speech.say("<tool_call>{}</tool_call>"), "");
        speech.swallow();
        assert_eq!(speech.unfinished(), "");
    }
}
