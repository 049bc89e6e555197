-- By which token of a caller a token was made (null: by none that was made by a call), and with
-- which it goes: that one, or, once that one is gone without it, the one that one went with.
ALTER TABLE tokens ADD COLUMN created_by_token TEXT;
ALTER TABLE tokens ADD COLUMN goes_with TEXT;
