//! The texts, language beside language. What goes into a `{}` stands in the same order in all of them.

use super::super::language::Language;

macro_rules! texts {
    ($($name:ident: $english:literal, $french:literal;)*) => {
        /// Every text of the console, in one language.
        pub(in super::super) struct Words {
            /// The language.
            pub(in super::super) language: Language,
            $(pub(in super::super) $name: &'static str,)*
        }

        /// In English.
        pub(in super::super) static ENGLISH: Words = Words { language: Language::English, $($name: $english,)* };

        /// In French.
        pub(in super::super) static FRENCH: Words = Words { language: Language::French, $($name: $french,)* };

        impl Words {
            /// Each text by its name.
            #[cfg(test)]
            pub(super) fn all(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

texts! {
    skip: "Skip to the content", "Aller au contenu";
    menu: "Menu", "Menu";
    language_label: "Language", "Langue";
    copy: "Copy", "Copier";
    copied: "Copied", "Copié";
    page_changed: "The page has changed", "La page a changé";
    optional: "(optional)", "(facultatif)";
    save: "Save", "Enregistrer";
    delete: "Delete", "Supprimer";
    delete_now: "Delete now", "Supprimer maintenant";
    keep: "Keep it", "Garder";
    more: "More", "Suite";
    all: "All", "Toutes";
    never: "never", "jamais";
    name: "Name", "Nom";
    state: "State", "État";
    trouble: "That did not work", "Cela n’a pas fonctionné";
    to_the_boxes: "Back to the boxes", "Retour aux box";
    sign_in: "Sign in", "Se connecter";
    sign_out: "Sign out", "Se déconnecter";
    signed_in: "signed in", "connecté";
    user_name: "User name", "Nom d’utilisateur";
    user_name_hint:
        "Choose the name you will sign in with, such as an e-mail address. If you were invited, leave it empty: you have one.",
        "Choisissez le nom avec lequel vous vous connecterez, par exemple une adresse électronique. Si vous êtes invité, laissez vide : vous en avez un.";
    bad_user_name:
        "A user name has letters, digits, '.', '_', '-', '+' and '@', and begins with a letter or a digit.",
        "Un nom d’utilisateur est fait de lettres sans accent, de chiffres, de « . », « _ », « - », « + » et « @ », et commence par une lettre ou un chiffre.";
    password: "Password", "Mot de passe";
    password_hint:
        "{} to {} characters; a few words are easier to remember than signs.",
        "De {} à {} caractères ; quelques mots se retiennent mieux que des signes.";
    your_password: "Your password", "Votre mot de passe";
    present_password: "Present password", "Mot de passe actuel";
    new_password: "New password", "Nouveau mot de passe";
    change_password: "Change it", "Le changer";
    change_password_hint:
        "You stay signed in here; everywhere else your sessions end.",
        "Vous restez connecté ici ; partout ailleurs vos sessions se terminent.";
    password_changed:
        "Your password is changed, and your other sessions have ended.",
        "Votre mot de passe est changé, et vos autres sessions sont terminées.";
    not_your_password: "This is not your present password.", "Ce n’est pas votre mot de passe actuel.";
    sign_in_with: "Sign in with", "Se connecter avec";
    nobody_yet:
        "Nobody can sign in yet. Open the link that the control API printed when it started, or print a new one with",
        "Personne ne peut encore se connecter. Ouvrez le lien que l’API a affiché à son démarrage, ou affichez-en un autre avec";
    welcome: "Welcome to Postern", "Bienvenue dans Postern";
    welcome_what:
        "Choose a password, and you are in. Your link works once.",
        "Choisissez un mot de passe, et vous y êtes. Votre lien ne sert qu’une fois.";
    link: "Your link", "Votre lien";
    link_hint: "The whole link, or what stands behind its #.", "Le lien entier, ou ce qui suit son #.";
    invited_as: "You will sign in as", "Vous vous connecterez en tant que";
    begin: "Begin", "Commencer";
    boxes: "Boxes", "Box";
    the_box: "The box", "La box";
    relay: "Relay", "Relais";
    transport: "Connected over", "Connectée par";
    over_quic: "QUIC", "QUIC";
    over_tcp: "TCP", "TCP";
    udp_silent: "nobody answers over UDP", "personne ne répond en UDP";
    udp_lost: "nothing came back over UDP any more", "plus rien ne revenait en UDP";
    udp_starved: "too little got through over UDP", "trop peu passait en UDP";
    gate: "The relay’s gate", "La porte du relais";
    address: "Address", "Adresse";
    agent: "Agent", "Agent";
    hostname: "Host name", "Nom d’hôte";
    platform: "System", "Système";
    ssh_server: "SSH server", "Serveur SSH";
    builtin_ssh: "the agent’s own", "celui de l’agent";
    no_ssh: "none", "aucun";
    online: "online", "en ligne";
    offline: "offline", "hors ligne";
    paused: "paused", "en pause";
    paused_why:
        "The owner of the box lets nobody in, until they run: postern-agent resume",
        "Le propriétaire de la box ne laisse entrer personne, jusqu’à ce qu’il exécute : postern-agent resume";
    since: "since", "depuis";
    last_seen: "last seen", "vue";
    waiting_to_join: "waiting to join", "à raccorder";
    connected: "connected", "raccordée";
    visits_now: "Live visits", "Visites en cours";
    last_days: "Last {} days", "{} derniers jours";
    visits_in_days: "{} visits in the last {} days", "{} visites au cours des {} derniers jours";
    no_boxes: "No boxes yet", "Pas encore de box";
    no_boxes_why:
        "A box is a machine behind NAT that you want to reach: it dials out to the relay, and nobody opens a port for it. Add one, and run one line on it.",
        "Une box est une machine derrière un NAT que vous voulez joindre : elle appelle le relais, et personne n’ouvre de port pour elle. Ajoutez-en une, et exécutez-y une ligne.";
    ask_an_operator:
        "Ask an operator of your account to add one.",
        "Demandez à un opérateur de votre compte d’en ajouter une.";
    add_a_box: "Add a box", "Ajouter une box";
    add_a_box_how:
        "Give it a name; then you get one line to run on it.",
        "Donnez-lui un nom ; vous obtiendrez une ligne à y exécuter.";
    box_name: "Name of the box", "Nom de la box";
    box_name_hint:
        "Lower-case letters, digits and hyphens, such as paris-3. It becomes the host name in ssh commands.",
        "Lettres minuscules, chiffres et traits d’union, par exemple paris-3. Ce sera le nom d’hôte dans les commandes ssh.";
    bad_box_name:
        "A box’s name has 1 to 63 lower-case letters, digits and hyphens, and neither begins nor ends with a hyphen.",
        "Le nom d’une box a de 1 à 63 lettres minuscules, chiffres et traits d’union, sans trait d’union au début ni à la fin.";
    run_this: "Run this on the box", "À exécuter sur la box";
    join_once:
        "It works once, and is shown this once. It stops working at",
        "Elle ne sert qu’une fois, et n’est affichée que cette fois. Elle expire le";
    agent_needed:
        "The agent must be installed there; afterwards, postern-agent run keeps the box connected.",
        "L’agent doit y être installé ; ensuite, postern-agent run garde la box connectée.";
    waiting_for_line:
        "This page will say so by itself as soon as the box is connected.",
        "Cette page le dira d’elle-même dès que la box sera raccordée.";
    box_is_connected:
        "{} has dialled in. You can give somebody access to it now.",
        "{} est en liaison. Vous pouvez maintenant y donner accès.";
    go_to_the_box: "Go to the box", "Voir la box";
    upkeep: "Rename, join again, delete", "Renommer, raccorder de nouveau, supprimer";
    new_name: "New name", "Nouveau nom";
    rename: "Rename", "Renommer";
    join_anew_why:
        "If the line was lost, or the box was set up anew: a new line takes the place of any older one.",
        "Si la ligne est perdue, ou la box réinstallée : une nouvelle ligne remplace la précédente.";
    join_anew: "New join line", "Nouvelle ligne de raccordement";
    delete_box: "Delete the box", "Supprimer la box";
    delete_box_why:
        "Deleting {} ends all its accesses and every visit at once. It cannot be undone: the box would have to join again.",
        "Supprimer {} met fin à tous ses accès et à toutes les visites, sur-le-champ. C’est sans retour : la box devrait être raccordée de nouveau.";
    delete_box_type: "Write its name to confirm", "Écrivez son nom pour confirmer";
    delete_box_not:
        "That is not the name of the box; nothing was deleted.",
        "Ce n’est pas le nom de la box ; rien n’a été supprimé.";
    remote_accesses: "Remote accesses", "Accès à distance";
    no_accesses:
        "Nobody can reach this box now. An access lets one key in, from the addresses you list, until it ends.",
        "Personne ne peut joindre cette box pour l’instant. Un accès laisse entrer une clé, depuis les adresses indiquées, jusqu’à sa fin.";
    over: "Ended", "Terminés";
    add_an_access: "Add a remote access", "Ajouter un accès à distance";
    add_access: "Add the access", "Ajouter l’accès";
    what_to_reach: "What to reach", "À joindre";
    web_page: "Web page", "Page web";
    via: "The way in", "Par où";
    via_what_suits: "what suits", "ce qui convient";
    via_gate: "the relay's SSH gate, with a key", "la porte SSH du relais, avec une clé";
    via_name: "a link", "un lien";
    via_port: "a public port of its own", "un port public à lui";
    allowed_addresses: "Allowed addresses", "Adresses autorisées";
    your_address: "Your own address is {} ({}).", "Votre propre adresse est {} ({}).";
    address_unknown:
        "Where you are is not known here, so write the address.",
        "On ne sait pas ici où vous êtes : écrivez l’adresse.";
    addresses_hint:
        "Several addresses or blocks may stand here, such as 198.51.100.0/24.",
        "Plusieurs adresses ou blocs sont possibles, par exemple 198.51.100.0/24.";
    other_family:
        "Visitors reach the gate over {}, and you are here over {}: allow the address that you will have there.",
        "On joint la porte en {}, et vous êtes ici en {} : autorisez l’adresse que vous aurez là-bas.";
    allow_any: "Let the whole Internet try", "Laisser tout Internet essayer";
    ends: "Ends", "Fin";
    hour: "hour", "heure";
    hours: "hours", "heures";
    day: "day", "jour";
    days: "days", "jours";
    unit_day: "d", "j";
    exactly: "on a date", "à une date";
    ends_at: "Ends at", "Fin le";
    time_zone: "Time zone", "Fuseau horaire";
    public_key: "SSH public key", "Clé publique SSH";
    another_key: "Another public key", "Une autre clé publique";
    key: "Key", "Clé";
    key_hint:
        "The line from a file such as ~/.ssh/id_ed25519.pub, or PuTTY’s public key. Needed for SSH.",
        "La ligne d’un fichier comme ~/.ssh/id_ed25519.pub, ou la clé publique de PuTTY. Nécessaire pour SSH.";
    key_private_here:
        "This is a private key. It has not left your browser; give the public half, the file that ends in .pub.",
        "C’est une clé privée. Elle n’a pas quitté votre navigateur ; donnez la moitié publique, le fichier en .pub.";
    from_a_file: "or from a file", "ou depuis un fichier";
    bits: "bits", "bits";
    login: "User on the box", "Utilisateur sur la box";
    as_user: "as", "en tant que";
    note: "Note", "Note";
    active: "active", "actif";
    pending: "pending", "en attente";
    pending_approval: "awaits approval", "à approuver";
    pending_on_box: "awaits approval on the box", "à approuver sur la box";
    consent_why:
        "The owner of this box approves each access on the box itself: postern-agent approvals",
        "Le propriétaire de cette box approuve chaque accès sur la box même : postern-agent approvals";
    asked_by: "Asked for by", "Demandé par";
    approve: "Approve", "Approuver";
    deny: "Deny", "Refuser";
    expired: "expired", "expiré";
    revoked: "deleted", "supprimé";
    ended: "over", "terminé";
    left: "left", "restantes";
    reaches: "Reaches", "Joint";
    from: "From", "Depuis";
    created: "Created", "Créé le";
    last_use: "Last use", "Dernière utilisation";
    ago: "{} ago", "il y a {}";
    all_forms: "All forms, edit", "Toutes les formes, modifier";
    hour_more: "+ 1 hour", "+ 1 heure";
    day_more: "+ 1 day", "+ 1 jour";
    delete_why:
        "This access ends at once, with every visit by it, and is gone for good. It cannot be undone; you can create another.",
        "Cet accès prend fin sur-le-champ, avec toutes ses visites, et pour de bon. C’est sans retour ; vous pourrez en créer un autre.";
    no_way_yet:
        "How to connect is known once a relay has reported.",
        "On saura comment se connecter dès qu’un relais se sera annoncé.";
    access: "Access", "Accès";
    accesses: "Accesses", "Accès";
    access_to: "Access to {}", "Accès à {}";
    how_to_connect: "How to connect", "Comment se connecter";
    qr_code: "QR code", "Code QR";
    fingerprint: "Fingerprint", "Empreinte";
    fingerprints: "Fingerprints", "Empreintes";
    change: "Edit", "Modifier";
    not_used_yet: "Nobody has come by this access yet.", "Personne n’est encore venu par cet accès.";
    cut: "Cut", "Couper";
    cut_why: "Ends this visit at once; the access stays, and its holder may come again.", "Met fin à cette visite sur-le-champ ; l’accès reste, et son titulaire peut revenir.";
    nobody_there: "Nobody is on this box now.", "Personne n’est sur cette box en ce moment.";
    history: "Visits", "Visites";
    no_history:
        "Nobody has come yet. Who comes, and who is refused and why, will stand here.",
        "Personne n’est encore venu. Qui vient, et qui est refusé et pourquoi, se lira ici.";
    all_visits: "All visits and refusals", "Toutes les visites et tous les refus";
    when: "When", "Quand";
    what_became: "Outcome", "Issue";
    bytes_up: "To the box", "Vers la box";
    bytes_down: "From the box", "De la box";
    there_now: "live", "en cours";
    visit_ended: "ended", "terminée";
    refused: "refused", "refusée";
    would_this_get_in: "Would this get in?", "Entrerait-on ?";
    verify_what:
        "The decision that the relay would make, on the rules in force now. Whether the box is online is not part of it.",
        "La décision que prendrait le relais, selon les règles en vigueur. Que la box soit en ligne n’y entre pas.";
    source_hint: "The address that a visitor would come from.", "L’adresse d’où viendrait un visiteur.";
    port: "Port of the box", "Port de la box";
    port_hint:
        "22 for SSH, 443 for its web page, or a service’s.",
        "22 pour SSH, 443 pour sa page web, ou celui d’un service.";
    access_hint:
        "The access that they would name; empty for any.",
        "L’accès qu’il nommerait ; vide pour n’importe lequel.";
    ask: "Ask", "Demander";
    would_get_in: "would get in", "entrerait";
    would_not_get_in: "would be refused", "serait refusé";
    by_access: "By the access", "Par l’accès";
    until: "Until", "Jusqu’au";
    users: "Users", "Utilisateurs";
    add_user: "Invite a user", "Inviter un utilisateur";
    add_user_hint:
        "What they will sign in with, such as an e-mail address. You get a link to give to them.",
        "Ce avec quoi il se connectera, par exemple une adresse électronique. Vous obtiendrez un lien à lui donner.";
    link_for: "The link for {}", "Le lien pour {}";
    link_once:
        "Give it to them: it works once, and is shown this once. It stops working at",
        "Donnez-le-lui : il ne sert qu’une fois, et n’est affiché que cette fois. Il expire le";
    new_link: "New link", "Nouveau lien";
    role: "Role", "Rôle";
    viewer: "viewer: looks", "lecteur : regarde";
    operator: "operator: adds and removes boxes and accesses", "opérateur : ajoute et retire box et accès";
    owner:
        "owner: also decides about users and tokens",
        "propriétaire : décide aussi des utilisateurs et des jetons";
    admin: "admin of the installation", "administrateur de l’installation";
    user_active: "can sign in", "peut se connecter";
    user_invited: "invited", "invité";
    user_disabled: "kept out", "tenu dehors";
    keep_out: "keep out", "tenir dehors";
    delete_user_why:
        "They are signed out at once and cannot sign in again. What they made stays.",
        "Il est déconnecté sur-le-champ et ne pourra plus se connecter. Ce qu’il a créé reste.";
    tokens: "API tokens", "Jetons d’API";
    tokens_what:
        "With a token, a program or the postern command does what its role allows.",
        "Avec un jeton, un programme ou la commande postern fait ce que son rôle permet.";
    no_tokens: "There are none yet.", "Il n’y en a pas encore.";
    add_token: "Make a token", "Créer un jeton";
    token_name: "What it is for", "À quoi il sert";
    token_made: "The token {}", "Le jeton {}";
    token_once:
        "Copy it now: it is shown this once, and kept as a hash only.",
        "Copiez-le maintenant : il n’est affiché que cette fois, et seule son empreinte est gardée.";
    host_keys_changed: "This box shows other host keys than before", "Cette box montre d’autres clés d’hôte qu’avant";
    host_keys_why:
        "If the system or its SSH server was set up anew, that is to be expected; otherwise somebody may be in its place. Compare them on the box itself (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub). Until they are confirmed, commands expect the known ones, and ssh refuses to connect.",
        "Si le système ou son serveur SSH vient d’être réinstallé, c’est normal ; sinon, quelqu’un a peut-être pris sa place. Comparez-les sur la box même (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub). Tant qu’elles ne sont pas confirmées, les commandes attendent les clés connues, et ssh refuse de se connecter.";
    host_keys_doubted:
        "The box shows other host keys than those that were known, so ssh refuses to connect until somebody confirms them on the page of the box.",
        "La box montre d’autres clés d’hôte que celles qui étaient connues : ssh refuse de se connecter tant que personne ne les a confirmées sur la page de la box.";
    known_keys: "Known until now", "Connues jusqu’ici";
    shown_keys: "Shown since", "Montrées depuis le";
    confirm_keys: "They are the box’s own: confirm them", "Ce sont bien les siennes : confirmer";
    by: "by", "par";
    webhooks: "Webhooks", "Webhooks";
    webhooks_what:
        "When something happens in this account, these addresses are called, and each call is signed.",
        "Quand il se passe quelque chose dans ce compte, ces adresses sont appelées, et chaque appel est signé.";
    no_webhooks: "None is called yet.", "Aucune n’est appelée pour l’instant.";
    webhook_url: "Address to call", "Adresse à appeler";
    event: "Event", "Événement";
    events: "Events", "Événements";
    choose_events: "Choose at least one event.", "Choisissez au moins un événement.";
    add_webhook: "Add a webhook", "Ajouter un webhook";
    webhook_secret: "The secret that calls to {} are signed with", "Le secret qui signe les appels à {}";
    webhook_secret_once:
        "Whoever receives the calls checks them with it; it is shown this once.",
        "Qui reçoit les appels les vérifie avec lui ; il n’est affiché que cette fois.";
    calls_arrive: "called", "appelé";
    calls_tried_again: "being tried again", "nouvel essai prévu";
    calls_given_up: "failing", "en échec";
    not_called: "not called", "pas appelé";
    last_call: "Last call", "Dernier appel";
    call_arrived: "arrived", "arrivé";
    call_given_up: "given up", "abandonné";
    call_next: "tried again at", "nouvel essai le";
    send_a_test: "Send a test", "Envoyer un essai";
    pause_calls: "Pause", "Suspendre";
    pause_calls_why:
        "It is not called until somebody resumes it; what waits for it is given up.",
        "Il n’est plus appelé jusqu’à la reprise ; ce qui l’attend est abandonné.";
    call_again: "Call it again", "Reprendre les appels";
    calls: "Calls", "Appels";
    attempts: "Attempts", "Essais";
    no_calls:
        "It has not been called yet. A test shows whether calls arrive.",
        "Il n’a pas encore été appelé. Un essai montre si les appels arrivent.";
    waits: "waiting", "en attente";
    delete_webhook_why:
        "It is not called any more, not even for what has happened already. Its secret is gone for good.",
        "Il n’est plus appelé, même pour ce qui s’est déjà produit. Son secret est perdu pour de bon.";
    audit: "Audit", "Journal";
    audit_what:
        "Every change in this account, chained so that none can be altered or taken out unnoticed. Whoever runs the control API checks that with",
        "Chaque changement dans ce compte, enchaîné de sorte qu’aucun ne puisse être modifié ou retiré sans que cela se voie. Qui exploite l’API le vérifie avec";
    who: "Who", "Qui";
    what_was_done: "What was done", "Ce qui a été fait";
    to_what: "To what", "Sur quoi";
    anybody: "anybody", "n’importe qui";
    anything: "anything", "n’importe quoi";
    everything_of: "{}: everything", "{} : tout";
    on_the_machine: "on the machine itself", "sur la machine même";
    other_actor: "somebody else", "quelqu’un d’autre";
    not_before: "Not before", "Pas avant";
    and_before: "And before", "Et avant";
    show: "Show", "Afficher";
    show_all: "Show everything", "Tout afficher";
    only_about: "Only what was done to", "Seulement ce qui a été fait à";
    only_this: "Only what was done to this", "Seulement ce qui a été fait à ceci";
    only_theirs: "Only what they did", "Seulement ce qu’ils ont fait";
    nothing_done: "Nothing was done that fits.", "Rien de tel n’a été fait.";
    kept_for: "Records are kept for {} days.", "Les entrées sont conservées {} jours.";
    kept_for_good: "Records are kept for good.", "Les entrées sont conservées sans limite.";
    accounts: "Accounts", "Comptes";
    accounts_what:
        "Each account has its own boxes, accesses, users and tokens, and nothing crosses them. You see them from outside: what an account has stays its own.",
        "Chaque compte a ses box, ses accès, ses utilisateurs et ses jetons, et rien ne passe de l’un à l’autre. Vous les voyez de l’extérieur : ce qu’un compte contient reste à lui.";
    account_name: "Name of the account", "Nom du compte";
    account_owner: "Its first owner", "Son premier propriétaire";
    add_account: "Open an account", "Ouvrir un compte";
    own_account: "the installation’s own", "celui de l’installation";
    close_account: "Close for good", "Fermer pour de bon";
    close_account_why:
        "Closing {} deletes its boxes, ends every visit at once, and signs its users out. It cannot be undone.",
        "Fermer {} supprime ses box, met fin sur-le-champ à toutes les visites et déconnecte ses utilisateurs. C’est sans retour.";
    close_account_not: "This is not the name of the account; it was not closed.", "Ce n’est pas le nom du compte ; il n’a pas été fermé.";
    rename_or_close: "Rename, close", "Renommer, fermer";
    relays: "Relays", "Relais";
    relays_what:
        "Boxes dial in to a relay, and visitors come in through it.",
        "Les box appellent un relais, et les visiteurs passent par lui.";
    no_relays:
        "There is none yet. Register one, give its token to postern-relay, and start it.",
        "Il n’y en a pas encore. Enregistrez-en un, donnez son jeton à postern-relay, et démarrez-le.";
    relay_up: "connected", "connecté";
    relay_down: "not connected", "non connecté";
    relay_never: "never started", "jamais démarré";
    rules_in_force: "Rules in force", "Règles en vigueur";
    rules_behind: "{} of {}", "{} sur {}";
    rules_all: "all", "toutes";
    version: "Version", "Version";
    links: "Links", "Liens";
    certificate: "The page’s certificate (SHA-256)", "Le certificat de la page (SHA-256)";
    link_form: "Link", "Lien";
    public_ports: "Public ports", "Ports publics";
    add_relay: "Register a relay", "Enregistrer un relais";
    relay_name: "Name of the relay", "Nom du relais";
    relay_token: "The token of {}", "Le jeton de {}";
    relay_token_once:
        "Put it into the file that relay.toml names as token_file; it is shown this once.",
        "Mettez-le dans le fichier que relay.toml nomme token_file ; il n’est affiché que cette fois.";
    delete_relay_why:
        "Its token stops working at once, and its boxes go to another relay if there is one.",
        "Son jeton cesse de fonctionner sur-le-champ, et ses box passent à un autre relais s’il y en a un.";
    installation: "Installation", "Installation";
    installation_what:
        "What holds for every account. Whoever runs the control API sets it, under these names, in",
        "Ce qui vaut pour tous les comptes. Qui exploite l’API le règle, sous ces noms, dans";
    retention: "How long things are kept", "Durée de conservation";
    kept_visits: "Visits and refusals", "Visites et refus";
    kept_audit: "The audit", "Le journal";
    kept_events: "Events", "Événements";
    kept_calls: "Calls to webhooks", "Appels aux webhooks";
    for_good: "for good", "sans limite";
    limits: "Requests to the API", "Requêtes à l’API";
    limit_of_each: "Of each user and token", "De chaque utilisateur et jeton";
    limit_of_strangers: "From an address, proving nothing", "D’une adresse, sans rien prouver";
    a_minute: "{} a minute", "{} par minute";
    unlimited: "no limit", "aucune limite";
    only_these_boxes: "Only for these boxes", "Seulement pour ces box";
    delete_token_why:
        "Whatever uses this token stops working at once.",
        "Tout ce qui utilise ce jeton cesse de fonctionner sur-le-champ.";
}
