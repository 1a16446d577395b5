//! What is said by a function's signature, and what it may not say.

use proc_macro2::TokenStream;
use syn::{
    Attribute, Error, Expr, FnArg, Ident, ItemFn, Lit, LitStr, Meta, Pat, Result, ReturnType, Type,
    parse2, spanned::Spanned,
};

/// Where an argument comes from.
pub(crate) enum Source {
    /// The call itself.
    Context,
    /// The payload as it is.
    Payload(Box<Type>),
    /// A key of the payload; the attributes are for the field it becomes.
    Key(Vec<Attribute>, Box<Type>),
}

/// One parameter.
pub(crate) struct Parameter {
    pub(crate) name: Ident,
    pub(crate) source: Source,
}

/// A function as it is to be offered.
pub(crate) struct Shape {
    /// What was said; otherwise it is made from the names of package and function.
    pub(crate) id: Option<LitStr>,
    pub(crate) description: Option<String>,
    pub(crate) parameters: Vec<Parameter>,
    /// It gives a `Result`, and no plain value.
    pub(crate) fails: bool,
}

impl Shape {
    /// Reads `item`, and takes from its parameters what the compiler would not have there.
    pub(crate) fn of(options: TokenStream, item: &mut ItemFn) -> Result<Shape> {
        let id = if options.is_empty() {
            None
        } else {
            let id: LitStr = parse2(options).map_err(|error| {
                Error::new(
                    error.span(),
                    "expected an id, as in #[function(\"shop::order\")]",
                )
            })?;
            Some(checked(id)?)
        };
        let signature = &mut item.sig;
        if signature.asyncness.is_none() {
            let why = "a function of a worker is an `async fn`; put what blocks into `tokio::task::spawn_blocking`";
            return Err(Error::new(signature.fn_token.span(), why));
        }
        if !signature.generics.params.is_empty() {
            let why = "a function of a worker has no generics: its schema is made from its types";
            return Err(Error::new(signature.generics.span(), why));
        }
        let parameters = signature
            .inputs
            .iter_mut()
            .map(parameter)
            .collect::<Result<Vec<_>>>()?;
        check_together(&parameters)?;
        Ok(Shape {
            id,
            description: description(&item.attrs),
            parameters,
            fails: gives_result(&signature.output),
        })
    }
}

fn checked(id: LitStr) -> Result<LitStr> {
    if id.value().is_empty() {
        return Err(Error::new(id.span(), "an id has at least one character"));
    }
    Ok(id)
}

fn parameter(argument: &mut FnArg) -> Result<Parameter> {
    let argument = match argument {
        FnArg::Typed(argument) => argument,
        FnArg::Receiver(this) => {
            let why = "a method cannot be offered: a function of a worker stands alone";
            return Err(Error::new(this.span(), why));
        }
    };
    let Pat::Ident(name) = &*argument.pat else {
        let why = "a parameter has a name, which is its key in the payload";
        return Err(Error::new(argument.pat.span(), why));
    };
    let name = name.ident.clone();
    let kind = argument.ty.clone();
    if matches!(*kind, Type::ImplTrait(_) | Type::Reference(_)) {
        let why = "a parameter is read from the payload, so it owns its value: `String` for `&str`";
        return Err(Error::new(kind.span(), why));
    }
    let mut attributes = std::mem::take(&mut argument.attrs);
    let count = attributes.len();
    attributes.retain(|attribute| !attribute.path().is_ident("input"));
    let source = if attributes.len() < count {
        Source::Payload(kind)
    } else if last_name(&kind).is_some_and(|name| name == "Context") {
        Source::Context
    } else {
        Source::Key(attributes, kind)
    };
    Ok(Parameter { name, source })
}

fn check_together(parameters: &[Parameter]) -> Result<()> {
    let mut wholes = parameters
        .iter()
        .filter(|one| matches!(one.source, Source::Payload(_)));
    let Some(whole) = wholes.next() else {
        return Ok(());
    };
    let is_key = |one: &&Parameter| matches!(one.source, Source::Key(..));
    match wholes.next().or_else(|| parameters.iter().find(is_key)) {
        None => Ok(()),
        Some(other) => {
            let why = format!(
                "`{}` is the whole payload, so that nothing is left for `{}`",
                whole.name, other.name
            );
            Err(Error::new(other.name.span(), why))
        }
    }
}

fn gives_result(output: &ReturnType) -> bool {
    match output {
        ReturnType::Default => false,
        ReturnType::Type(_, kind) => last_name(kind).is_some_and(|name| name == "Result"),
    }
}

fn last_name(kind: &Type) -> Option<&Ident> {
    match kind {
        Type::Path(path) => path.path.segments.last().map(|last| &last.ident),
        _ => None,
    }
}

/// The first paragraph of the documentation, as one line.
fn description(attributes: &[Attribute]) -> Option<String> {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(said) if said.path.is_ident("doc") => match &said.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => Some(text.value().trim().to_owned()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        });
    let first: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    Some(first.join(" ")).filter(|text| !text.is_empty())
}
