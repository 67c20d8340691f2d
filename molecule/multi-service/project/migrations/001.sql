CREATE TABLE letters (id bigserial PRIMARY KEY, text text NOT NULL);
