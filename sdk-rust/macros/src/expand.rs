//! The code that offers a function.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Ident, ItemFn, Result, parse2};

use crate::shape::{Parameter, Shape, Source};

/// The function as it was, and beside it a type of its name that offers it.
pub(crate) fn function(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut item: ItemFn = parse2(item)?;
    let shape = Shape::of(options, &mut item)?;
    let (visibility, name) = (&item.vis, &item.sig.ident);
    let id = match &shape.id {
        Some(id) => quote!(#id),
        None => {
            let name = name.to_string();
            quote!(::core::concat!(::core::env!("CARGO_PKG_NAME"), "::", #name))
        }
    };
    let described = shape
        .description
        .as_ref()
        .map(|text| quote!(.describe(#text)));
    // Hygienic, so that neither hides a function that has the name of a parameter.
    let (context, input) = (local("context"), local("input"));
    let arguments = shape
        .parameters
        .iter()
        .map(|one| match (&one.source, &one.name) {
            (Source::Context, _) => quote!(#context),
            (Source::Payload(_), _) => quote!(#input),
            (Source::Key(..), key) => quote!(#input.#key),
        });
    let ran = quote!(#name(#(#arguments),*).await);
    let outcome = if shape.fails {
        quote!(#ran.map_err(::core::convert::Into::<::agentos_sdk::Error>::into))
    } else {
        quote!(::core::result::Result::<_, ::agentos_sdk::Error>::Ok(#ran))
    };
    let Input { declared, kind } = Input::of(name, &shape.parameters);
    Ok(quote! {
        // It must be `async` whether it waits for anything or not.
        #[allow(clippy::unused_async)]
        #item

        // Braces, so that the name of the function itself stays what it is.
        #[doc(hidden)]
        #[allow(non_camel_case_types, dead_code)]
        #visibility struct #name {}

        const _: () = {
            #declared

            impl ::agentos_sdk::Function for #name {
                fn offer(registrar: &mut ::agentos_sdk::Registrar) -> ::agentos_sdk::FunctionBuilder<'_> {
                    registrar.function(#id, |#context: ::agentos_sdk::Context, #input: #kind| async move {
                        let _ = (&#context, &#input);
                        #outcome
                    }) #described
                }
            }
        };
    })
}

fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// How the payload is read.
struct Input {
    /// The type that it is read as, where it is one of ours.
    declared: TokenStream,
    kind: TokenStream,
}

impl Input {
    fn of(function: &Ident, parameters: &[Parameter]) -> Input {
        let mut fields = Vec::new();
        for Parameter { name, source } in parameters {
            match source {
                Source::Context => {}
                Source::Payload(kind) => {
                    return Input {
                        declared: TokenStream::new(),
                        kind: quote!(#kind),
                    };
                }
                Source::Key(attributes, kind) => fields.push(quote!(#(#attributes)* #name: #kind)),
            }
        }
        let title = function.to_string();
        let declared = quote! {
            #[derive(::agentos_sdk::private::serde::Deserialize, ::agentos_sdk::private::schemars::JsonSchema)]
            #[serde(crate = "::agentos_sdk::private::serde", rename = #title, deny_unknown_fields)]
            #[schemars(crate = "::agentos_sdk::private::schemars")]
            struct Input { #(#fields),* }
        };
        // Who has nothing to say may send nothing at all.
        let kind = if fields.is_empty() {
            quote!(::core::option::Option<Input>)
        } else {
            quote!(Input)
        };
        Input { declared, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::function;

    fn refusal(options: &str, item: &str) -> String {
        let tokens = |text: &str| text.parse().expect("tokens");
        let refused = function(tokens(options), tokens(item)).expect_err("it is refused");
        refused.to_string()
    }

    #[test]
    fn what_cannot_be_offered_is_told_why() {
        for (options, item, why) in [
            ("", "fn f() {}", "is an `async fn`"),
            ("", "async fn f<T>(a: T) {}", "has no generics"),
            ("", "async fn f(&self) {}", "a method cannot be offered"),
            ("", "async fn f((a, b): (i64, i64)) {}", "has a name"),
            ("", "async fn f(a: &str) {}", "owns its value"),
            ("", "async fn f(a: impl Into<String>) {}", "owns its value"),
            (
                "",
                "async fn f(#[input] a: A, b: i64) {}",
                "nothing is left for `b`",
            ),
            (
                "",
                "async fn f(#[input] a: A, #[input] b: B) {}",
                "nothing is left for `b`",
            ),
            ("shop", "async fn f() {}", "expected an id"),
            ("\"a\", idempotent", "async fn f() {}", "expected an id"),
            ("\"\"", "async fn f() {}", "at least one character"),
            ("", "struct F {}", "expected"),
        ] {
            let said = refusal(options, item);
            assert!(said.contains(why), "{item}: {said}");
        }
    }
}
