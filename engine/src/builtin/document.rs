//! JSON values that are stored and updated in steps; what state and streams have in common.

mod doc;
pub(crate) mod ops;
mod step;

use agentos_sdk::{Code, Error};

pub use doc::Doc;
pub use ops::OpError;
pub use step::{Op, OpKind, Path};

/// Applies `steps` to a stored value; a missing one starts as `{}`.
///
/// # Errors
/// `failed` when the stored value nests too deeply to be taken apart.
pub(crate) fn update(old: Option<&Doc>, steps: &[ops::Step]) -> Result<(Doc, Vec<OpError>), Error> {
    let unfit = |error: serde_json::Error| {
        Error::caller(
            Code::Failed,
            format!("the stored value cannot be updated: {error}"),
        )
    };
    let document = old.map(Doc::value).transpose().map_err(unfit)?;
    let (document, errors) = ops::apply(document, steps);
    Ok((Doc::of(&document).map_err(unfit)?, errors))
}
