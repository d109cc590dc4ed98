//! What the control API says: to people's programs, and to relays.
//!
//! JSON over HTTP. Times are RFC 3339 in UTC; ids and names are strings; unknown fields in requests
//! are refused, so that a misspelt limit is never silently no limit.

mod access;
mod account;
mod audit;
mod device;
mod event;
mod installation;
mod page;
mod problem;
mod relay;
mod role;
mod session;
mod token;
mod user;
mod verify;
mod visit;
mod webhook;

pub use access::{
    Access, AccessStatus, Approver, Connection, CreateAccess, Created, EditAccess, Fingerprints, KeyInfo,
    Progress, Via,
};
pub use account::{Account, CreateAccount, RenameAccount};
pub use audit::{Actor, ActorKind, AuditAction, AuditRecord, AuditSubject};
pub use device::{
    ConfirmHostKeys, CreateDevice, Device, DeviceStatus, FormerHostKeys, HostKey, Join, RenameDevice,
};
pub use event::Event;
pub use installation::{Installation, RequestsPerMinute, RetentionDays};
pub use page::Page;
pub use problem::Problem;
pub use relay::{
    CertificateAnswer, CertificateRequest, CreateRelay, FEED_CUTS, FEED_UNDERSTANDS, FeedLine, Gate,
    InvalidPortRange, JoinBox, NewRelay, PortRange, Presence, PresenceReport, Relay, RelayHello,
    RelayWelcome, RenewBox, VisitEvent, VisitEvents,
};
pub use role::{Role, UnknownRole};
pub use session::{ChangePassword, Invited, ReadInvitation, Session, SetUp, SignIn};
pub use token::{CreateToken, NewToken, Token};
pub use user::{CreateUser, EditUser, Invitation, User, UserStatus};
pub use verify::{Verify, VerifyAnswer};
pub use visit::{Visit, VisitOutcome};
pub use webhook::{
    CreateWebhook, Delivery, DeliveryStatus, EditWebhook, NewWebhook, Webhook, WebhookCall, WebhookEvent,
    WebhookStatus,
};
