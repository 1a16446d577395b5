//! Functions that the attribute [`crate::function`] was put on.

use crate::{FunctionBuilder, Registrar};

/// A function that can be offered by its name: [`Registrar::offer`]. Implemented by
/// [`crate::function`].
pub trait Function {
    /// Offers the function; what it says of itself may be added to.
    fn offer(registrar: &mut Registrar) -> FunctionBuilder<'_>;
}
