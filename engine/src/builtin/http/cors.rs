//! What browser pages may do: plain decisions over method, `Origin` and the settings.

use super::config::Cors;

/// Methods named to a page that asks.
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS";

impl Cors {
    fn any_origin(&self) -> bool {
        self.allowed_origins.is_empty() || self.allowed_origins.iter().any(|origin| origin == "*")
    }

    pub(super) fn admits_origin(&self, origin: &str) -> bool {
        self.any_origin()
            || self
                .allowed_origins
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(origin))
    }

    pub(super) fn admits_method(&self, method: &str) -> bool {
        self.allowed_methods.is_empty()
            || self
                .allowed_methods
                .iter()
                .any(|listed| listed == "*" || listed.eq_ignore_ascii_case(method))
    }

    /// `Access-Control-Allow-Origin` for a page that was let in. Credentials are never let in, so
    /// `*` is enough where every origin is.
    pub(super) fn answer<'a>(&self, origin: &'a str) -> &'a str {
        if self.any_origin() { "*" } else { origin }
    }

    /// `Access-Control-Allow-Methods`.
    pub(super) fn methods(&self) -> String {
        if self.allowed_methods.is_empty()
            || self.allowed_methods.iter().any(|method| method == "*")
        {
            METHODS.to_owned()
        } else {
            self.allowed_methods.join(", ").to_ascii_uppercase()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lists_and_stars_let_everything_in() {
        let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let rows: [(&[&str], &[&str], bool, bool, &str); 4] = [
            (&[], &[], true, true, "*"),
            (&["https://b.example", "*"], &["*"], true, true, "*"),
            (
                &["https://A.example"],
                &["post"],
                true,
                false,
                "https://a.example",
            ),
            (
                &["https://b.example"],
                &["GET"],
                false,
                true,
                "https://a.example",
            ),
        ];
        for (origins, methods, origin, method, answer) in rows {
            let cors = Cors {
                allowed_origins: list(origins),
                allowed_methods: list(methods),
            };
            assert_eq!(cors.admits_origin("https://a.example"), origin, "{cors:?}");
            assert_eq!(cors.admits_method("GET"), method, "{cors:?}");
            assert_eq!(cors.answer("https://a.example"), answer, "{cors:?}");
        }
    }
}
