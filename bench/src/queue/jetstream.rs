//! A work queue of NATS JetStream.

use anyhow::Result;

use super::{
    IN_WORK_MAX,
    broker::{Broker, Hear, SINK, ask, end, place, read_dialect},
};
use crate::{
    dialect::{Bind, Dialect, nats::Nats},
    link::Link,
};

/// Where the server delivers to.
const DELIVERIES: &str = "bench.deliveries";

impl Broker for Nats {
    async fn open(&self, address: &str, consume: bool) -> Result<Link> {
        let mut end = end("consumer", 0);
        end.bind = consume.then(|| Bind::Topic(DELIVERIES.to_owned()));
        let mut link = Dialect::open(self, &place(address), &end).await?;
        let stream = br#"{"name":"BENCH","subjects":["bench.sink"],"storage":"file","retention":"workqueue"}"#;
        ask(self, &mut link, "$JS.API.STREAM.CREATE.BENCH", stream).await?;
        if consume {
            let consumer = format!(
                r#"{{"stream_name":"BENCH","config":{{"durable_name":"C","deliver_subject":"{DELIVERIES}","ack_policy":"explicit","max_ack_pending":{IN_WORK_MAX}}}}}"#
            );
            let function = "$JS.API.CONSUMER.DURABLE.CREATE.BENCH.C";
            ask(self, &mut link, function, consumer.as_bytes()).await?;
        }
        Ok(link)
    }

    fn producer(&self, index: usize) -> Self {
        // Another inbox than the consumer's.
        Nats::new(index as u64 + 2)
    }

    async fn connect(&self, address: &str, index: usize) -> Result<Link> {
        Dialect::open(self, &place(address), &end("producer", index)).await
    }

    fn message(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let template = self.call(SINK, payload, false)?;
        let mut bytes = Vec::new();
        self.write_call(&template, 1, &mut bytes);
        Ok(bytes)
    }

    fn read(&self, input: &[u8], out: &mut Vec<u8>, hear: Hear<'_>) -> Result<Option<usize>> {
        read_dialect(self, input, out, hear)
    }

    fn acknowledge(&self, message: &[u8], out: &mut Vec<u8>) {
        self.answer(message, Some(b"+ACK"), out);
    }
}
