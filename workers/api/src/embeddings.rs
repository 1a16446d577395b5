//! `POST /v1/embeddings`, by the worker that offers `embedding::generate`.

use std::sync::Arc;

use agentos_contract::{
    embedding::{Embeddings, GENERATE, GenerateRequest},
    llm::Dialect,
};
use agentos_sdk::{Code, Context};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    Api,
    error::Failure,
    http::{Answer, Request},
};

/// As many as OpenAI takes.
const INPUTS_MAX: usize = 2048;

/// Texts per call of the worker, which takes no more than 256.
const BATCH: usize = 128;

impl Api {
    /// By the worker here if the model is its own, and else by the provider that has the model.
    pub(crate) async fn embed(
        self: Arc<Self>,
        context: Context,
        request: Request,
    ) -> Result<Answer, Failure> {
        let entered = self.enter(context.bus(), request).await?;
        match create(&context, &entered.object()?).await {
            Err(failure) if failure.status == 404 || failure.status == 503 => {
                let forward = self.forward(&context, Dialect::OpenAiEmbeddings, &entered);
                forward.send_whole().await?.ok_or(failure)
            }
            made => made,
        }
    }
}

async fn create(context: &Context, body: &Map<String, Value>) -> Result<Answer, Failure> {
    let texts = texts(body.get("input").unwrap_or(&Value::Null))?;
    let encode = encoding(body)?;
    let wanted = body
        .get("model")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if wanted.is_empty() {
        return Err(Failure::invalid("model", "you must provide a model"));
    }
    let mut data = Vec::with_capacity(texts.len());
    let (mut model, mut tokens) = (String::new(), 0);
    for batch in texts.chunks(BATCH) {
        let made = generate(context, batch.to_vec()).await?;
        suits(&made, wanted, body)?;
        for vector in made.embeddings {
            data.push(
                json!({ "object": "embedding", "index": data.len(), "embedding": encode(&vector) }),
            );
        }
        model = made.model;
        tokens += made.tokens.unwrap_or_default();
    }
    let usage = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
    Ok(Answer::ok(
        json!({ "object": "list", "data": data, "model": model, "usage": usage }),
    ))
}

async fn generate(context: &Context, texts: Vec<String>) -> Result<Embeddings, Failure> {
    let count = texts.len();
    let made: Embeddings = context
        .trigger(GENERATE, &GenerateRequest { texts })
        .await?;
    if made.embeddings.len() != count {
        let message = format!(
            "{} vectors came back for {count} texts",
            made.embeddings.len()
        );
        return Err(agentos_sdk::Error::worker(Code::Failed, message).into());
    }
    Ok(made)
}

/// There is one model; to answer for another would be a lie that spoils an index.
fn suits(made: &Embeddings, wanted: &str, body: &Map<String, Value>) -> Result<(), Failure> {
    let short = |name: &str| name.rsplit('/').next().unwrap_or_default().to_lowercase();
    if short(&made.model) != short(wanted) {
        let mut failure = Failure::unknown_model(wanted);
        failure.message = format!(
            "the model `{wanted}` does not exist; texts are embedded by `{}`",
            made.model
        );
        return Err(failure);
    }
    match body.get("dimensions") {
        None | Some(Value::Null) => Ok(()),
        Some(asked) if asked.as_u64() == Some(made.dimensions as u64) => Ok(()),
        Some(asked) => {
            let message = format!(
                "dimensions is {asked}, and `{}` makes {}",
                made.model, made.dimensions
            );
            Err(Failure::invalid("dimensions", message))
        }
    }
}

fn texts(input: &Value) -> Result<Vec<String>, Failure> {
    let wrong = |message: &str| Err(Failure::invalid("input", message));
    let texts: Vec<String> = match input {
        Value::Null => return wrong("the required field `input` is missing"),
        Value::String(text) => vec![text.clone()],
        Value::Array(items) if items.iter().any(|item| item.is_number() || item.is_array()) => {
            return wrong(
                "token ids depend on a tokenizer that is not ours: send text (LangChain: check_embedding_ctx_length=False)",
            );
        }
        Value::Array(items) => match items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect()
        {
            Some(texts) => texts,
            None => return wrong("input must be a text or a list of texts"),
        },
        _ => return wrong("input must be a text or a list of texts"),
    };
    match texts.len() {
        0 => wrong("input is empty"),
        many if many > INPUTS_MAX => wrong("more than 2048 texts: send them in parts"),
        _ if texts.iter().any(String::is_empty) => wrong("a text is empty"),
        _ => Ok(texts),
    }
}

type Encode = fn(&[f32]) -> Value;

/// The official clients ask for base64 by themselves and decode it.
fn encoding(body: &Map<String, Value>) -> Result<Encode, Failure> {
    match body.get("encoding_format") {
        None | Some(Value::Null) => Ok(floats),
        Some(format) if format == "float" => Ok(floats),
        Some(format) if format == "base64" => Ok(base64),
        Some(_) => Err(Failure::invalid(
            "encoding_format",
            "encoding_format is neither float nor base64",
        )),
    }
}

fn floats(vector: &[f32]) -> Value {
    // By way of their shortest text: 0.1 stays 0.1 and does not become 0.10000000149011612.
    vector
        .iter()
        .map(|value| {
            value
                .to_string()
                .parse::<f64>()
                .map_or(Value::Null, Into::into)
        })
        .collect()
}

fn base64(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    BASE64_STANDARD.encode(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_texts() {
        assert_eq!(texts(&json!("a")).unwrap(), ["a"]);
        assert_eq!(texts(&json!(["a", "b"])).unwrap(), ["a", "b"]);
        for bad in [
            json!(null),
            json!([]),
            json!(""),
            json!([1, 2]),
            json!([[1]]),
            json!(["a", 1]),
            json!({}),
            json!(["a", null]),
        ] {
            assert_eq!(texts(&bad).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn vectors_are_numbers_or_base64() {
        assert_eq!(floats(&[0.1, -2.0]).to_string(), "[0.1,-2.0]");
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
    }
}
