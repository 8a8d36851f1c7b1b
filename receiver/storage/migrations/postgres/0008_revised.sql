-- The last erasure that what a process holds in memory has followed to its end.
ALTER TABLE processes ADD COLUMN revised TEXT COLLATE "C";

CREATE TRIGGER erasures_told AFTER UPDATE ON jobs FOR EACH ROW
    WHEN (NEW.kind = 'erase' AND (NEW.released <> OLD.released OR NEW.position = 'log'))
    EXECUTE FUNCTION tell_processes();
