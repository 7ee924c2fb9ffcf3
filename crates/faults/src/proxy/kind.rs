//! The ways in which a network damages one exchange of a request and its answer.
//! Source: the issue ("delay, cut, dribble, duplicate, reset after N"); reliability.md, R9, R10.

/// What happens to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request comes late.
    DelayRequest,
    /// The answer comes late.
    DelayAnswer,
    /// The connection ends and nothing arrives.
    CutBeforeRequest,
    /// A part of the request arrives, then both connections end.
    CutInsideRequest,
    /// The request arrives and is carried out; the answer is lost.
    CutBeforeAnswer,
    /// A part of the answer arrives, then the connection ends.
    CutInsideAnswer,
    /// The request comes in small pieces with pauses.
    DribbleRequest,
    /// The answer comes in small pieces with pauses.
    DribbleAnswer,
    /// The same request arrives twice at the same time, over two connections; one answer comes back.
    Duplicate,
    /// The same request arrives once more after its answer has come.
    DuplicateLate,
    /// Both connections are reset after some bytes of the request.
    ResetRequest,
    /// The connection is reset after some bytes of the answer.
    ResetAnswer,
    /// Nothing gets through for a while; the request arrives when it is over, when its asker has perhaps given up.
    HoleRequest,
    /// The request arrives; nothing comes back for a while.
    HoleAnswer,
    /// Of two requests on two connections the later one arrives first.
    Reorder,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::DelayRequest,
        Self::DelayAnswer,
        Self::CutBeforeRequest,
        Self::CutInsideRequest,
        Self::CutBeforeAnswer,
        Self::CutInsideAnswer,
        Self::DribbleRequest,
        Self::DribbleAnswer,
        Self::Duplicate,
        Self::DuplicateLate,
        Self::ResetRequest,
        Self::ResetAnswer,
        Self::HoleRequest,
        Self::HoleAnswer,
        Self::Reorder,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DelayRequest => "delay-request",
            Self::DelayAnswer => "delay-answer",
            Self::CutBeforeRequest => "cut-before-request",
            Self::CutInsideRequest => "cut-inside-request",
            Self::CutBeforeAnswer => "cut-before-answer",
            Self::CutInsideAnswer => "cut-inside-answer",
            Self::DribbleRequest => "dribble-request",
            Self::DribbleAnswer => "dribble-answer",
            Self::Duplicate => "duplicate",
            Self::DuplicateLate => "duplicate-late",
            Self::ResetRequest => "reset-request",
            Self::ResetAnswer => "reset-answer",
            Self::HoleRequest => "hole-request",
            Self::HoleAnswer => "hole-answer",
            Self::Reorder => "reorder",
        }
    }
}
