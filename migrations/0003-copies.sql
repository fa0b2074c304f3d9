-- Copies off this host: what waits to be copied or taken away, and what has been copied. The fact `copy_target` names the
-- place; while there is none, nothing is queued.
CREATE TABLE copies (
  backup_id TEXT PRIMARY KEY,
  vm_id     TEXT NOT NULL,
  type      TEXT NOT NULL,
  format    TEXT NOT NULL,
  state     TEXT NOT NULL CHECK (state IN ('queued', 'copied', 'removing')),
  -- Since when it is in this state.
  since     TEXT NOT NULL,
  attempts  INTEGER NOT NULL DEFAULT 0,
  next_at   TEXT NOT NULL,
  problem   TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX copies_due ON copies (next_at) WHERE state <> 'copied';
CREATE INDEX copies_failed ON copies (next_at) WHERE problem IS NOT NULL;
CREATE INDEX copies_waiting ON copies (since) WHERE state <> 'copied';

-- A version that comes, or comes anew over a row that was wrong, is copied; one that goes is taken away there too.
CREATE TRIGGER versions_copied AFTER INSERT ON versions WHEN EXISTS (SELECT 1 FROM facts WHERE name = 'copy_target') BEGIN
  INSERT OR REPLACE INTO copies (backup_id, vm_id, type, format, state, since, next_at)
  VALUES (new.backup_id, new.vm_id, new.type, new.format, 'queued',
    strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
END;
CREATE TRIGGER versions_uncopied AFTER DELETE ON versions WHEN EXISTS (SELECT 1 FROM facts WHERE name = 'copy_target') BEGIN
  UPDATE copies SET state = 'removing', attempts = 0, problem = NULL,
    since = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), next_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
  WHERE backup_id = old.backup_id;
END;

-- Which versions were looked at longest ago.
CREATE INDEX versions_verified ON versions (coalesce(verified_at, valid_from)) WHERE state = 'ok';
