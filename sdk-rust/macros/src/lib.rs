//! The attribute that makes a Rust function one of the bus. Writes code against `agentos_sdk` and
//! knows nothing else of it.

mod expand;
mod shape;

use proc_macro::TokenStream;

/// Makes an `async fn` a function of the bus: its parameters are the keys of the payload, their
/// types its schema, its documentation the description.
///
/// ```
/// use agentos_sdk::{Registrar, Result};
///
/// /// Adds two numbers.
/// #[agentos_sdk::function("math::add")]
/// async fn add(a: i64, b: i64) -> Result<i64> {
///     Ok(a + b)
/// }
///
/// let mut registrar = Registrar::new();
/// registrar.offer::<add>();            // or, connected: worker.offer::<add>().await?
/// let offered = &registrar.collected().functions[0];
/// assert_eq!(&*offered.id, "math::add");
/// assert_eq!(offered.description.as_deref(), Some("Adds two numbers."));
/// ```
///
/// It stays a function that tests call as any other. Without an id it is offered as
/// `<package>::<function>`.
///
/// - A parameter of type `Context` is the context of the call.
/// - One parameter with `#[input]` gets the payload as it is: a struct that derives `Deserialize` and
///   `JsonSchema`, or any other type that does.
/// - `#[serde(...)]`, `#[schemars(...)]` and documentation of a parameter are those of its key; an
///   `Option` may be left out, and so may what has `#[serde(default)]`. Other keys are refused.
/// - The result is a value, or a `Result` whose error becomes an `agentos_sdk::Error`.
///
/// What cannot work does not compile. A parameter that cannot be read:
///
/// ```compile_fail
/// #[agentos_sdk::function]
/// async fn wrong(place: std::time::Instant) -> i64 { 1 }
/// ```
///
/// A result that cannot be written:
///
/// ```compile_fail
/// #[agentos_sdk::function]
/// async fn wrong() -> std::time::Instant { std::time::Instant::now() }
/// ```
///
/// An error that is none of the bus:
///
/// ```compile_fail
/// #[agentos_sdk::function]
/// async fn wrong() -> Result<i64, String> { Ok(1) }
/// ```
///
/// A function that is not `async`, and would keep others waiting:
///
/// ```compile_fail
/// #[agentos_sdk::function]
/// fn wrong(a: i64) -> i64 { a }
/// ```
///
/// Something that was never made a function of the bus:
///
/// ```compile_fail
/// async fn plain(a: i64) -> i64 { a }
/// agentos_sdk::Registrar::new().offer::<plain>();
/// ```
#[proc_macro_attribute]
pub fn function(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::function(options.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
