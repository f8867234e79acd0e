-- The same ledger as in first_schema.sql, as version 0.1.0 made it on PostgreSQL 15 (pg_dump --inserts, without the
-- session's settings and the schema's name).
CREATE TABLE answers (
    sequence bigint NOT NULL,
    request_id character varying(64) NOT NULL,
    at double precision NOT NULL,
    table_name character varying(64) NOT NULL,
    model_name character varying(128) NOT NULL,
    model_version integer NOT NULL,
    weights_sha256 character varying(64) NOT NULL,
    template_sha256 character varying(64) NOT NULL,
    generation json NOT NULL,
    text text NOT NULL,
    output text NOT NULL,
    confidence double precision,
    alternatives json NOT NULL,
    subject character varying(64),
    seconds double precision NOT NULL
);
CREATE SEQUENCE answers_sequence_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE answers_sequence_seq OWNED BY answers.sequence;
CREATE TABLE costs (
    sequence bigint NOT NULL,
    at double precision NOT NULL,
    run_id character varying(64) NOT NULL,
    stage character varying(64) NOT NULL,
    subject_name character varying(128) NOT NULL,
    device character varying(32) NOT NULL,
    seconds double precision NOT NULL,
    cpu_seconds double precision,
    peak_memory_bytes bigint,
    num_tokens bigint
);
CREATE SEQUENCE costs_sequence_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE costs_sequence_seq OWNED BY costs.sequence;
CREATE TABLE counters (
    name character varying(32) NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE cuts (
    sequence bigint NOT NULL,
    table_name character varying(64) NOT NULL,
    cut bigint NOT NULL,
    at double precision NOT NULL,
    outcome character varying(32) NOT NULL,
    model_name character varying(128) NOT NULL,
    model_version integer NOT NULL
);
CREATE SEQUENCE cuts_sequence_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE cuts_sequence_seq OWNED BY cuts.sequence;
CREATE TABLE fates (
    sequence bigint NOT NULL,
    feedback_id character varying(64) NOT NULL,
    at double precision NOT NULL,
    fate character varying(16) NOT NULL,
    reason text NOT NULL,
    data_version character varying(64) NOT NULL,
    model_name character varying(128) NOT NULL,
    model_version integer NOT NULL,
    effect json
);
CREATE SEQUENCE fates_sequence_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE fates_sequence_seq OWNED BY fates.sequence;
CREATE TABLE feedback (
    sequence bigint NOT NULL,
    feedback_id character varying(64) NOT NULL,
    request_id character varying(64) NOT NULL,
    at double precision NOT NULL,
    table_name character varying(64) NOT NULL,
    kind character varying(16) NOT NULL,
    correction text,
    comment text,
    subject character varying(64),
    channel character varying(64) NOT NULL,
    content_sha256 character varying(64) NOT NULL
);
CREATE TABLE journal (
    sequence bigint NOT NULL,
    previous character varying(64) NOT NULL,
    hash character varying(64) NOT NULL,
    entry text NOT NULL
);
CREATE TABLE leases (
    name character varying(128) NOT NULL,
    holder character varying(128) NOT NULL,
    until double precision NOT NULL
);
CREATE TABLE outbox (
    sequence bigint NOT NULL,
    event_id character varying(64) NOT NULL,
    at double precision NOT NULL,
    event character varying(64) NOT NULL,
    resource json NOT NULL,
    payload json NOT NULL,
    delivered_at double precision,
    num_attempts integer NOT NULL,
    next_attempt_at double precision NOT NULL,
    last_error text
);
CREATE SEQUENCE outbox_sequence_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE outbox_sequence_seq OWNED BY outbox.sequence;
CREATE TABLE raw_prompts (
    request_id character varying(64) NOT NULL,
    at double precision NOT NULL,
    text text NOT NULL,
    output text NOT NULL
);
CREATE TABLE verdicts (
    sequence bigint NOT NULL,
    at double precision NOT NULL,
    model_name character varying(128) NOT NULL,
    model_version integer NOT NULL,
    against character varying(16) NOT NULL,
    against_version integer NOT NULL,
    metric character varying(32) NOT NULL,
    verdict character varying(16) NOT NULL,
    difference double precision NOT NULL,
    low double precision NOT NULL,
    high double precision NOT NULL,
    p_value double precision,
    num_examples integer NOT NULL,
    num_more_needed integer,
    data_version character varying(64) NOT NULL,
    policy json NOT NULL
);
CREATE SEQUENCE verdicts_sequence_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE verdicts_sequence_seq OWNED BY verdicts.sequence;
ALTER TABLE ONLY answers ALTER COLUMN sequence SET DEFAULT nextval('answers_sequence_seq'::regclass);
ALTER TABLE ONLY costs ALTER COLUMN sequence SET DEFAULT nextval('costs_sequence_seq'::regclass);
ALTER TABLE ONLY cuts ALTER COLUMN sequence SET DEFAULT nextval('cuts_sequence_seq'::regclass);
ALTER TABLE ONLY fates ALTER COLUMN sequence SET DEFAULT nextval('fates_sequence_seq'::regclass);
ALTER TABLE ONLY outbox ALTER COLUMN sequence SET DEFAULT nextval('outbox_sequence_seq'::regclass);
ALTER TABLE ONLY verdicts ALTER COLUMN sequence SET DEFAULT nextval('verdicts_sequence_seq'::regclass);
INSERT INTO answers VALUES (1, 'request-0', 1800000001, 'library', 'banyan-library', 1, '0000000000000000000000000000000000000000000000000000000000000001', '7777777777777777777777777777777777777777777777777777777777777777', '{"max_length_tokens": 64}', 'text number 0', 'sympy', 0.5, '[["sympy", 0.5]]', '4069a7ed6b8cc47d791272cf7d1cda95', 0);
INSERT INTO answers VALUES (2, 'request-1', 1800000002, 'library', 'banyan-library', 1, '0000000000000000000000000000000000000000000000000000000000000001', '7777777777777777777777777777777777777777777777777777777777777777', '{"max_length_tokens": 64}', 'text number 1', 'sympy', 0.5, '[["sympy", 0.5]]', '4069a7ed6b8cc47d791272cf7d1cda95', 0);
INSERT INTO answers VALUES (3, 'request-2', 1800000003, 'library', 'banyan-library', 1, '0000000000000000000000000000000000000000000000000000000000000001', '7777777777777777777777777777777777777777777777777777777777777777', '{"max_length_tokens": 64}', 'text number 2', 'sympy', 0.5, '[["sympy", 0.5]]', '4069a7ed6b8cc47d791272cf7d1cda95', 0);
INSERT INTO counters VALUES ('schema', 1);
INSERT INTO counters VALUES ('feedback', 2);
INSERT INTO counters VALUES ('journal', 4);
INSERT INTO fates VALUES (1, 'feedback-0', 1800000003, 'received', '', '', '', 0, NULL);
INSERT INTO fates VALUES (2, 'feedback-1', 1800000003, 'received', '', '', '', 0, NULL);
INSERT INTO fates VALUES (3, 'feedback-0', 1800000003, 'admitted', '', 'dddddddddddddddddddddddddddddddd', '', 0, NULL);
INSERT INTO feedback VALUES (1, 'feedback-0', 'request-0', 1800000003, 'library', 'correct', 'networkx', NULL, NULL, 'api', '99c7fdd7d7f29064a9fff9abc8fdc819d0c8f738686454e93d799170734786db');
INSERT INTO feedback VALUES (2, 'feedback-1', 'request-1', 1800000003, 'library', 'approve', NULL, NULL, NULL, 'api', '80ec232429610704abfcec25f31f2654ac8e0061b6461d6628cc5f991fdae3f6');
INSERT INTO journal VALUES (1, '0000000000000000000000000000000000000000000000000000000000000000', '4526073b9755ebcbd015df090a46720d4870cc468b441fc54a2999918d1464c7', '{"action": "promote", "actor": "gate", "alias": "champion", "at": 1800000003.0, "evidence": {"p": 0.01}, "from_version": null, "move_id": "cd3a81770bbf461c8f745b95767e7828", "name": "banyan-library", "note": "", "state": "intended", "to_version": 1, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000001"}');
INSERT INTO journal VALUES (2, '4526073b9755ebcbd015df090a46720d4870cc468b441fc54a2999918d1464c7', '26185a0ea173398dc80ea2bd2a88d2d00f595ce9f63a44f41ed41af8f33d1e88', '{"action": "promote", "actor": "gate", "alias": "champion", "at": 1800000003.0, "evidence": {"p": 0.01}, "from_version": null, "move_id": "cd3a81770bbf461c8f745b95767e7828", "name": "banyan-library", "note": "", "state": "done", "to_version": 1, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000001"}');
INSERT INTO journal VALUES (3, '26185a0ea173398dc80ea2bd2a88d2d00f595ce9f63a44f41ed41af8f33d1e88', '2641686a2f3b9d69f3aba6a9aa2e083f400599cc9e13fbd4db3801a5c17199d7', '{"action": "promote", "actor": "gate", "alias": "champion", "at": 1800000003.0, "evidence": {"p": 0.02}, "from_version": 1, "move_id": "07e17435a89d42f1bb8869770a72b03c", "name": "banyan-library", "note": "", "state": "intended", "to_version": 2, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000002"}');
INSERT INTO journal VALUES (4, '2641686a2f3b9d69f3aba6a9aa2e083f400599cc9e13fbd4db3801a5c17199d7', '254b350de64f62f617bdad6656f6cf7a1c3df06ddbbb612fe3745e6908987ace', '{"action": "promote", "actor": "gate", "alias": "champion", "at": 1800000003.0, "evidence": {"p": 0.02}, "from_version": 1, "move_id": "07e17435a89d42f1bb8869770a72b03c", "name": "banyan-library", "note": "", "state": "done", "to_version": 2, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000002"}');
INSERT INTO outbox VALUES (1, 'e4054b71-db26-4a7d-afe0-28e7ad09594b', 1800000003, 'banyan.feedback.received', '{"prefect.resource.id": "banyan.feedback.feedback-0", "banyan.table": "library"}', '{"sequence": 1, "kind": "correct", "channel": "api"}', NULL, 0, 1800000003, NULL);
INSERT INTO outbox VALUES (2, '6ecc0da1-573c-465f-9951-35e59bb84409', 1800000003, 'banyan.feedback.received', '{"prefect.resource.id": "banyan.feedback.feedback-1", "banyan.table": "library"}', '{"sequence": 2, "kind": "approve", "channel": "api"}', NULL, 0, 1800000003, NULL);
INSERT INTO outbox VALUES (3, 'b47500c9-251a-4a91-886c-1599c92b8534', 1800000003, 'banyan.model.promoted', '{"prefect.resource.id": "banyan.model.banyan-library"}', '{"move_id": "cd3a81770bbf461c8f745b95767e7828", "action": "promote", "name": "banyan-library", "alias": "champion", "from_version": null, "to_version": 1, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000001", "actor": "gate", "evidence": {"p": 0.01}, "note": "", "state": "done"}', NULL, 0, 1800000003, NULL);
INSERT INTO outbox VALUES (4, '2665fdde-51cf-40bc-bc2b-dbefad7a41d8', 1800000003, 'banyan.model.promoted', '{"prefect.resource.id": "banyan.model.banyan-library"}', '{"move_id": "07e17435a89d42f1bb8869770a72b03c", "action": "promote", "name": "banyan-library", "alias": "champion", "from_version": 1, "to_version": 2, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000002", "actor": "gate", "evidence": {"p": 0.02}, "note": "", "state": "done"}', NULL, 0, 1800000003, NULL);
INSERT INTO raw_prompts VALUES ('request-0', 1800000001, 'text number 0', 'sympy');
INSERT INTO raw_prompts VALUES ('request-1', 1800000002, 'text number 1', 'sympy');
INSERT INTO raw_prompts VALUES ('request-2', 1800000003, 'text number 2', 'sympy');
SELECT pg_catalog.setval('answers_sequence_seq', 3, true);
SELECT pg_catalog.setval('costs_sequence_seq', 1, false);
SELECT pg_catalog.setval('cuts_sequence_seq', 1, false);
SELECT pg_catalog.setval('fates_sequence_seq', 3, true);
SELECT pg_catalog.setval('outbox_sequence_seq', 4, true);
SELECT pg_catalog.setval('verdicts_sequence_seq', 1, false);
ALTER TABLE ONLY answers
    ADD CONSTRAINT answers_pkey PRIMARY KEY (sequence);
ALTER TABLE ONLY answers
    ADD CONSTRAINT answers_request_id_key UNIQUE (request_id);
ALTER TABLE ONLY costs
    ADD CONSTRAINT costs_pkey PRIMARY KEY (sequence);
ALTER TABLE ONLY costs
    ADD CONSTRAINT costs_run_id_stage_key UNIQUE (run_id, stage);
ALTER TABLE ONLY counters
    ADD CONSTRAINT counters_pkey PRIMARY KEY (name);
ALTER TABLE ONLY cuts
    ADD CONSTRAINT cuts_pkey PRIMARY KEY (sequence);
ALTER TABLE ONLY cuts
    ADD CONSTRAINT cuts_table_name_cut_key UNIQUE (table_name, cut);
ALTER TABLE ONLY fates
    ADD CONSTRAINT fates_feedback_id_fate_reason_data_version_model_name_model_key UNIQUE (feedback_id, fate, reason, data_version, model_name, model_version);
ALTER TABLE ONLY fates
    ADD CONSTRAINT fates_pkey PRIMARY KEY (sequence);
ALTER TABLE ONLY feedback
    ADD CONSTRAINT feedback_feedback_id_key UNIQUE (feedback_id);
ALTER TABLE ONLY feedback
    ADD CONSTRAINT feedback_pkey PRIMARY KEY (sequence);
ALTER TABLE ONLY journal
    ADD CONSTRAINT journal_hash_key UNIQUE (hash);
ALTER TABLE ONLY journal
    ADD CONSTRAINT journal_pkey PRIMARY KEY (sequence);
ALTER TABLE ONLY leases
    ADD CONSTRAINT leases_pkey PRIMARY KEY (name);
ALTER TABLE ONLY outbox
    ADD CONSTRAINT outbox_event_id_key UNIQUE (event_id);
ALTER TABLE ONLY outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (sequence);
ALTER TABLE ONLY raw_prompts
    ADD CONSTRAINT raw_prompts_pkey PRIMARY KEY (request_id);
ALTER TABLE ONLY verdicts
    ADD CONSTRAINT verdicts_model_name_model_version_against_against_version_m_key UNIQUE (model_name, model_version, against, against_version, metric, data_version);
ALTER TABLE ONLY verdicts
    ADD CONSTRAINT verdicts_pkey PRIMARY KEY (sequence);
CREATE INDEX answers_by_subject ON answers USING btree (subject);
CREATE INDEX answers_by_table ON answers USING btree (table_name, sequence);
CREATE INDEX fates_by_feedback ON fates USING btree (feedback_id, sequence);
CREATE INDEX feedback_by_subject ON feedback USING btree (subject);
CREATE INDEX feedback_by_table ON feedback USING btree (table_name, sequence);
CREATE INDEX ix_feedback_request_id ON feedback USING btree (request_id);
CREATE INDEX ix_raw_prompts_at ON raw_prompts USING btree (at);
CREATE INDEX outbox_due ON outbox USING btree (delivered_at, next_attempt_at);
ALTER TABLE ONLY fates
    ADD CONSTRAINT fates_feedback_id_fkey FOREIGN KEY (feedback_id) REFERENCES feedback(feedback_id);
ALTER TABLE ONLY feedback
    ADD CONSTRAINT feedback_request_id_fkey FOREIGN KEY (request_id) REFERENCES answers(request_id);
ALTER TABLE ONLY raw_prompts
    ADD CONSTRAINT raw_prompts_request_id_fkey FOREIGN KEY (request_id) REFERENCES answers(request_id) ON DELETE CASCADE;
