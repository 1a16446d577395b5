//! What an agent says in one answer: pieces on their way out, and all of them together.

/// Collects pieces; replies of the model between tool calls are set apart by an empty line.
#[derive(Default)]
pub(crate) struct Speech {
    said: String,
    /// Where the reply that is being said begins.
    reply: usize,
    pub(crate) reasoning: String,
}

impl Speech {
    /// The model begins another reply.
    pub(crate) fn next_reply(&mut self) {
        self.reply = self.said.len();
    }

    /// Takes a piece; gives back what is to be sent for it.
    pub(crate) fn say(&mut self, piece: &str) -> String {
        let start = self.said.len();
        if start == self.reply && start > 0 && !piece.is_empty() {
            self.said.push_str("\n\n");
            self.reply = self.said.len();
        }
        self.said.push_str(piece);
        self.said[start..].to_owned()
    }

    /// What was said in the reply under way.
    pub(crate) fn reply(&self) -> &str {
        &self.said[self.reply..]
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
            speech.next_reply();
            for piece in reply {
                sent += &speech.say(piece);
            }
            assert_eq!(speech.reply(), reply.concat());
        }
        assert_eq!(sent, "ab\n\nc\n\nd");
        assert_eq!(speech.said(), sent);
    }
}
