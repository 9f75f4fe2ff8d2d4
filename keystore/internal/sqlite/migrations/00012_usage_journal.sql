-- +goose Up
-- Counters of usage that are not in the tables of usage yet. A row has many of them.
CREATE TABLE usage_journal (
    id     INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, because usage_fold names one
    counts BLOB NOT NULL
);

-- One row: how far the rows of the journal until upto are added to the tables. Both are 0 if no
-- fold has begun.
CREATE TABLE usage_fold (
    upto BIGINT NOT NULL,
    done BIGINT NOT NULL
);
INSERT INTO usage_fold (upto, done) VALUES (0, 0);
