//! What the API says in English sentences, in French: by the codes, which are stable.

use std::borrow::Cow;

use postern_protocol::api::Problem;
use postern_protocol::connection::Form;
use postern_protocol::ssh_key::Unusable;

/// What is wrong, and what to do. A problem without a translation stays as it is.
pub(super) fn problem(problem: &Problem) -> Cow<'_, str> {
    let text = match problem.code.as_str() {
        "unauthorized" => "Connectez-vous pour continuer.",
        "too_many_failures" => {
            "Trop de tentatives ont échoué ; patientez, puis vérifiez le nom et le mot de passe."
        }
        "forbidden" => "Votre rôle ne le permet pas ; demandez à un propriétaire du compte.",
        "other_page" => {
            "Cette demande vient de la page d'un autre site. Si c'est une erreur, vérifiez public_url dans la configuration de l'API."
        }
        "wrong_credentials" => "Personne n'a ce nom et ce mot de passe.",
        "invitation_refused" => {
            "Ce lien a déjà servi, a expiré ou a été remplacé ; demandez-en un autre (pour le premier : postern-api setup)."
        }
        "busy" => "Trop de demandes à la fois ; réessayez dans un instant.",
        "route_not_found" | "method_not_allowed" => "Cette page n'existe pas.",
        "device_not_found" => "Aucune box ne porte ce nom ou cet identifiant.",
        "access_not_found" => "Aucun accès ne porte cet identifiant.",
        "webhook_not_found" => "Aucun webhook ne porte cet identifiant.",
        "invalid_target" => {
            "Cette adresse ne peut pas être appelée : il en faut une en https, sur l'Internet public, sans nom d'utilisateur ni fragment."
        }
        "too_many_webhooks" => "Un compte a 20 webhooks au plus ; retirez-en un d'abord.",
        "webhook_disabled" => "Ce webhook est désactivé ; réactivez-le pour l'essayer.",
        "too_many_deliveries" => {
            "Trop d'appels attendent ce webhook ; il faut d'abord que certains arrivent."
        }
        "visit_not_found" => "Aucune visite ne porte cet identifiant.",
        "invalid_cursor" => "Cette suite de liste n'existe pas ; reprenez la liste à son début.",
        "user_not_found" => "Aucun utilisateur ne porte ce nom ou cet identifiant.",
        "token_not_found" => "Aucun jeton ne porte cet identifiant.",
        "body_too_large" => "Le formulaire est trop long.",
        "name_taken" => "Ce nom est déjà pris ; choisissez-en un autre.",
        "last_owner" => "C'est le dernier propriétaire qui puisse se connecter ; nommez-en d'abord un autre.",
        "no_relay" => {
            "Une box se raccorde par un relais, et aucun n'a encore démarré : enregistrez-en un avec « postern-api relay add relay-1 », donnez-lui le jeton, et démarrez postern-relay."
        }
        "too_many_accesses" => "Cette box a trop d'accès en cours ; supprimez-en un qui ne sert plus.",
        "access_revoked" => "Cet accès a été supprimé pour de bon ; créez-en un autre.",
        "nothing_to_decide" => "Cet accès n'attend pas de décision.",
        "impossible_via" => {
            "On n'entre pas ainsi à ce port : SSH passe par la porte du relais ou un port public, une page web par un lien, un port public, ou la porte avec une clé."
        }
        "no_front" => {
            "Aucun relais n'a de façade TLS ; ajoutez-en une dans relay.toml, ou donnez une clé publique pour passer par la porte SSH."
        }
        "no_ports" => {
            "Aucun relais n'a de ports publics ; ajoutez-les dans relay.toml : ports = \"40000-40999\"."
        }
        "invalid_role" => "Ce rôle ne convient pas ici.",
        "invalid_password" => "Un mot de passe a de 10 à 256 caractères.",
        "invalid_note" => "Une note a 500 caractères au plus, sans caractères de contrôle.",
        "invalid_allowed_ips" => {
            "Écrivez des adresses IP ou des blocs, par exemple 192.0.2.7 ou 2001:db8::/48."
        }
        "any_address" => "Tout Internet pourrait essayer ; si c'est voulu, cochez la case prévue.",
        "address_unknown" => "Le serveur mandataire ne dit pas où vous êtes ; indiquez l'adresse autorisée.",
        "invalid_expiry" => "L'accès doit finir dans le futur, et dans la durée permise.",
        "key_required" => {
            "Le port 22 demande la clé publique SSH du visiteur, par exemple la ligne de ~/.ssh/id_ed25519.pub."
        }
        "private_key" => {
            "C'est une clé privée ; elle n'a pas été gardée, mais elle est sortie de vos mains : donnez la moitié publique."
        }
        "unusable_key" => "Cette clé ne peut pas servir.",
        "port_not_offered" => {
            "La box n'offre pas ce port : elle offre 22, 443 et les services de sa configuration."
        }
        "internal" => {
            "Une erreur est survenue ici ; réessayez, et consultez le journal de l'API si elle persiste."
        }
        "invalid_request" => match problem.field.as_deref() {
            Some("login") => "Ce n'est pas un nom d'utilisateur.",
            Some("exposed_port") => "Choisissez ce qu'il faut joindre sur la box.",
            Some("expires_at") => "Écrivez la date et l'heure de fin.",
            Some("source") => "Écrivez une adresse IP.",
            Some("port") => "Écrivez un port, par exemple 22.",
            Some("access") => "Ce n'est pas un accès ; laissez vide pour n'importe lequel.",
            _ => "La demande est incomplète ; recommencez.",
        },
        _ => return problem.detail.as_str().into(),
    };
    text.into()
}

/// Why a pasted text is no key for an access.
pub(super) fn unusable(problem: &Unusable) -> Cow<'static, str> {
    let text = match problem {
        Unusable::Empty => "Aucune clé : collez la ligne d'un fichier comme ~/.ssh/id_ed25519.pub.",
        Unusable::TooLong => "C'est trop long pour une clé publique.",
        Unusable::Private { format, .. } => {
            return format!(
                "C'est une clé privée ({format}) ; elle n'a pas été gardée, mais elle est sortie de vos mains : donnez la moitié publique."
            )
            .into();
        }
        Unusable::Certificate => "C'est un certificat SSH ; donnez la clé publique seule.",
        Unusable::Dsa => "Les clés DSA ne sont plus sûres ; créez-en une : ssh-keygen -t ed25519",
        Unusable::ShortRsa { bits } => {
            return format!("Cette clé RSA a {bits} bits ; il en faut au moins 2048.").into();
        }
        Unusable::LongRsa { bits } => {
            return format!("Cette clé RSA a {bits} bits ; 8192 au plus sont acceptés.").into();
        }
        Unusable::Ed448 => "Les serveurs SSH n'acceptent pas Ed448 ; créez une clé : ssh-keygen -t ed25519",
        Unusable::UnknownType(kind) => {
            return format!(
                "Les clés de type « {kind} » ne sont pas acceptées ; créez-en une : ssh-keygen -t ed25519"
            )
            .into();
        }
        Unusable::Several => "Il y a plusieurs clés ici ; un accès en prend une.",
        Unusable::Preceded { starts_at } => {
            return format!("Il y a des options ou des noms avant la clé ; donnez seulement ce qui commence par « {starts_at} ».").into();
        }
        Unusable::Wrapped => "La clé est coupée sur plusieurs lignes ; collez-la en une seule.",
        Unusable::Pem { convert_from } => {
            return format!("Cette clé publique est au format PEM ; convertissez-la : ssh-keygen -i -m {convert_from} -f FICHIER").into();
        }
        Unusable::Damaged => "La clé est abîmée ou tronquée ; copiez-la de nouveau en entier.",
        Unusable::NotAKey => "Ce n'est pas une clé publique ; elle ressemble à : ssh-ed25519 AAAAC3Nz… nom",
        other => return other.to_string().into(),
    };
    text.into()
}

/// What a form of the command takes for granted.
pub(super) fn note(form: Form) -> &'static str {
    match form {
        Form::SshConfig | Form::KnownHosts => "",
        Form::OpenSsh | Form::Scp | Form::Sftp | Form::Rsync | Form::Ansible => {
            "Demande une fois la clé d’hôte de chaque étape, sauf si les lignes de la forme known_hosts sont dans ~/.ssh/known_hosts."
        }
        Form::Putty | Form::PuttyUnix | Form::WinScp => {
            "Prend la clé dans Pageant. Sans Pageant, indiquez le fichier .ppk aux deux étapes : PublicKeyFile dans les sessions, « Fichier de clé privée » dans WinSCP."
        }
        Form::Plink => {
            "Prend la clé dans Pageant. Sans Pageant, indiquez le fichier .ppk aux deux étapes : -i FICHIER. Si la porte refuse, seul plink -v dit pourquoi."
        }
        Form::Dbclient => {
            "Prend la clé dans ~/.ssh/id_dropbear, que dropbearconvert tire de celle d’OpenSSH. Si OpenSSH lit le même known_hosts, il y prendra la ligne du relais pour un serveur SSH sur le port 22, car les lignes de dbclient ne disent pas le port. Vers un port public, il passe par nc."
        }
        Form::VsCode => "Demande l’extension Remote - SSH, et le bloc de la forme ~/.ssh/config.",
    }
}

/// What is worth knowing of a key although it is accepted.
pub(super) const KEY_WARNING: &str = "PuTTY, avant la version 0.81, laissait deviner les clés privées P-521 par leurs signatures (CVE-2024-31497) : si cette clé y a servi, créez-en une autre.";

/// Why somebody was refused, or why a visit ended.
pub(super) fn reason<'a>(code: &str, reason: &'a str) -> Cow<'a, str> {
    let text = match code {
        "ended" => "terminée",
        "unknown_access" => "accès inconnu",
        "wrong_key" => "l'accès est pour une autre clé",
        "wrong_box" => "l'accès est pour une autre box",
        "port_not_exposed" => "ce port n'est pas exposé",
        "address_not_allowed" => "cette adresse n'est pas autorisée",
        "revoked" => "l'accès a été supprimé",
        "expired" => "l'accès a expiré",
        "lease_over" => "l'accès n'a pas pu être renouvelé à temps",
        "denied_by_box" => "la box a refusé",
        "box_offline" => "la box est hors ligne",
        "box_paused" => "la box est mise en pause par son propriétaire",
        "not_offered" => "la box n'offre rien sur ce port",
        "service_down" => "le service de la box ne répond pas",
        "box_silent" => "la box n'a pas répondu à temps",
        "too_many_visits" => "trop de visites à la fois",
        "shutting_down" => "le relais s'arrêtait",
        "tunnel_lost" => "la liaison avec la box a été perdue",
        "relay_restarted" => "le relais a redémarré",
        "relay_removed" => "le relais a été retiré",
        "cut" => "un opérateur a coupé la visite",
        "stalled" => "la visite s'est figée",
        "not_approved" => "l'accès attend d'être approuvé sur la box : postern-agent approve",
        "denied_by_owner" => "le propriétaire de la box a refusé cet accès",
        "idle" => "rien n'a été dit pendant trop longtemps",
        "ended_by_box" => "la box a mis fin à la visite",
        _ => return reason.into(),
    };
    text.into()
}
