-- By which token of a caller a join token was made (null: by none that was made by a call).
ALTER TABLE join_tokens ADD COLUMN created_by_token TEXT;
