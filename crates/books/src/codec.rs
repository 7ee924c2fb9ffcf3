//! CBOR helpers for derived types.

/// An optional byte string: null or bytes.
pub mod optional_bytes {
    use minicbor::data::Type;
    use minicbor::{Decoder, Encoder};

    /// Writes it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: minicbor::encode::Write>(
        value: &Option<Vec<u8>>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match value {
            Some(bytes) => e.bytes(bytes)?.ok(),
            None => e.null()?.ok(),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// Where it is neither null nor a definite byte string.
    pub fn decode<'b, C>(d: &mut Decoder<'b>, _: &mut C) -> Result<Option<Vec<u8>>, minicbor::decode::Error> {
        if d.datatype()? == Type::Null {
            d.null()?;
            return Ok(None);
        }
        Ok(Some(d.bytes()?.to_vec()))
    }
}
