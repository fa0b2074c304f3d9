-- The index over the sealed versions, and the journal of what the service does. Times are RFC 3339 UTC with milliseconds.

-- Versions that count. `seq` is the order in which they were shown: newer rows have greater ones, so that a page of a
-- list stays where it is while new versions are made.
CREATE TABLE versions (
  seq           INTEGER PRIMARY KEY,
  backup_id     TEXT    NOT NULL UNIQUE,
  vm_id         TEXT    NOT NULL,
  type          TEXT    NOT NULL,
  path          TEXT    NOT NULL,
  valid_from    TEXT    NOT NULL,
  superseded_at TEXT,
  size          INTEGER NOT NULL,
  digest        TEXT    NOT NULL,
  mode          INTEGER,
  uid           INTEGER,
  gid           INTEGER,
  trigger       TEXT    NOT NULL,
  reason        TEXT,
  note          TEXT,
  actor         TEXT    NOT NULL,
  operation_id  TEXT,
  pinned        INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
  key_id        TEXT    NOT NULL,
  format        TEXT    NOT NULL,
  verified_at   TEXT,
  state         TEXT    NOT NULL DEFAULT 'ok',
  CHECK (superseded_at > valid_from)
) STRICT;

-- Every filter of a list has an index that also gives the order: seq is the last column of each by itself.
CREATE UNIQUE INDEX versions_config ON versions (vm_id, type, valid_from);
CREATE INDEX versions_vm ON versions (vm_id);
CREATE INDEX versions_type ON versions (type);
CREATE INDEX versions_trigger ON versions (trigger);
CREATE INDEX versions_time ON versions (valid_from);
CREATE INDEX versions_pinned ON versions (seq) WHERE pinned = 1;

-- Versions of changes that have not succeeded yet. In a table of their own no list and no look-up can find them.
CREATE TABLE provisional_versions (
  backup_id TEXT PRIMARY KEY,
  version   TEXT NOT NULL CHECK (json_valid(version))
) STRICT, WITHOUT ROWID;

CREATE TABLE operations (
  seq             INTEGER PRIMARY KEY,
  operation_id    TEXT    NOT NULL UNIQUE,
  kind            TEXT    NOT NULL,
  vm_id           TEXT    NOT NULL,
  type            TEXT    NOT NULL,
  state           TEXT    NOT NULL,
  file_state      TEXT,
  started_at      TEXT    NOT NULL,
  finished_at     TEXT,
  actor           TEXT    NOT NULL,
  reason          TEXT,
  request_id      TEXT,
  digest          TEXT,
  previous_digest TEXT,
  backup_id       TEXT,
  version_id      TEXT,
  rollout_id      TEXT,
  stages          TEXT    NOT NULL CHECK (json_valid(stages)),
  problem         TEXT    CHECK (problem IS NULL OR json_valid(problem)),
  -- The journal: how far it has got (null: it had ended when it was entered), and what recovery must know.
  phase           TEXT,
  journal         TEXT    CHECK (journal IS NULL OR json_valid(journal)),
  CHECK ((phase IS NULL) = (journal IS NULL))
) STRICT;

CREATE INDEX operations_vm ON operations (vm_id);
CREATE INDEX operations_config ON operations (vm_id, type);
CREATE INDEX operations_type ON operations (type);
CREATE INDEX operations_state ON operations (state);
CREATE INDEX operations_kind ON operations (kind);
CREATE INDEX operations_time ON operations (started_at);
CREATE INDEX operations_open ON operations (seq) WHERE phase <> 'done';
