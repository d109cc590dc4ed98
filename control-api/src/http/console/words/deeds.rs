//! What the audit says was done, language beside language.

use postern_protocol::api::{AuditAction, AuditSubject};

use super::super::language::Language;
use super::Words;

impl Words {
    /// Things of a kind, as the audit speaks of them.
    pub(in super::super) fn kind(&self, subject: AuditSubject) -> &'static str {
        match subject {
            AuditSubject::Device => self.boxes,
            AuditSubject::Access => self.accesses,
            AuditSubject::Visit => self.history,
            AuditSubject::User => self.users,
            AuditSubject::Token => self.tokens,
            AuditSubject::Webhook => self.webhooks,
            AuditSubject::Account => self.accounts,
            AuditSubject::Relay => self.relays,
            AuditSubject::Audit => self.audit,
        }
    }

    /// One thing of a kind.
    pub(in super::super) fn one(&self, subject: AuditSubject) -> &'static str {
        let (english, french) = match subject {
            AuditSubject::Device => ("box", "box"),
            AuditSubject::Access => ("access", "accès"),
            AuditSubject::Visit => ("visit", "visite"),
            AuditSubject::User => ("user", "utilisateur"),
            AuditSubject::Token => ("token", "jeton"),
            AuditSubject::Webhook => ("webhook", "webhook"),
            AuditSubject::Account => ("account", "compte"),
            AuditSubject::Relay => ("relay", "relais"),
            AuditSubject::Audit => ("audit", "journal"),
        };
        match self.language {
            Language::English => english,
            Language::French => french,
        }
    }

    /// What was done, in a few words.
    pub(in super::super) fn deed(&self, action: AuditAction) -> &'static str {
        let (english, french) = match action {
            AuditAction::DeviceCreated => ("box created", "box créée"),
            AuditAction::DeviceRenamed => ("box renamed", "box renommée"),
            AuditAction::DeviceDeleted => ("box deleted", "box supprimée"),
            AuditAction::JoinStringMade => ("join line made", "ligne de raccordement créée"),
            AuditAction::DeviceJoined => ("box joined", "box raccordée"),
            AuditAction::HostKeysConfirmed => ("host keys confirmed", "clés d’hôte confirmées"),
            AuditAction::AccessCreated => ("access created", "accès créé"),
            AuditAction::AccessEdited => ("access edited", "accès modifié"),
            AuditAction::AccessDeleted => ("access deleted", "accès supprimé"),
            AuditAction::AccessAskedFor => ("access asked for", "accès demandé"),
            AuditAction::AccessApproved => ("access approved", "accès approuvé"),
            AuditAction::AccessDenied => ("access denied", "accès refusé"),
            AuditAction::VisitCut => ("visit cut", "visite coupée"),
            AuditAction::UserAdded => ("user added", "utilisateur ajouté"),
            AuditAction::UserEdited => ("user edited", "utilisateur modifié"),
            AuditAction::UserRemoved => ("user removed", "utilisateur retiré"),
            AuditAction::UserInvited => ("user invited anew", "utilisateur invité de nouveau"),
            AuditAction::UserSignedOut => ("user signed out everywhere", "utilisateur déconnecté partout"),
            AuditAction::OwnerInvited => ("owner invited", "propriétaire invité"),
            AuditAction::InvitationAccepted => ("invitation accepted", "invitation acceptée"),
            AuditAction::IdentityLinked => ("identity linked", "identité reliée"),
            AuditAction::SignedIn => ("signed in", "connexion"),
            AuditAction::SignedOut => ("signed out", "déconnexion"),
            AuditAction::PasswordChanged => ("password changed", "mot de passe changé"),
            AuditAction::TokenCreated => ("token made", "jeton créé"),
            AuditAction::TokenRemoved => ("token removed", "jeton retiré"),
            AuditAction::WebhookAdded => ("webhook added", "webhook ajouté"),
            AuditAction::WebhookEdited => ("webhook edited", "webhook modifié"),
            AuditAction::WebhookRemoved => ("webhook removed", "webhook retiré"),
            AuditAction::WebhookTested => ("webhook tried", "webhook essayé"),
            AuditAction::AccountOpened => ("account opened", "compte ouvert"),
            AuditAction::AccountRenamed => ("account renamed", "compte renommé"),
            AuditAction::AccountClosed => ("account closed", "compte fermé"),
            AuditAction::RelayRegistered => ("relay registered", "relais enregistré"),
            AuditAction::RelayTokenChanged => ("relay’s token changed", "jeton du relais changé"),
            AuditAction::RelayRemoved => ("relay removed", "relais retiré"),
            AuditAction::RelayChanged => ("relay started anew", "relais redémarré autrement"),
            AuditAction::AuditPruned => ("old records removed", "anciennes entrées retirées"),
        };
        match self.language {
            Language::English => english,
            Language::French => french,
        }
    }
}
