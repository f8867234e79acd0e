-- A ledger of the first schema with rows in it, as version 0.1.0 wrote it on SQLite (sqlite3 .dump).
BEGIN TRANSACTION;
CREATE TABLE answers (
	sequence INTEGER NOT NULL, 
	request_id VARCHAR(64) NOT NULL, 
	at DOUBLE NOT NULL, 
	table_name VARCHAR(64) NOT NULL, 
	model_name VARCHAR(128) NOT NULL, 
	model_version INTEGER NOT NULL, 
	weights_sha256 VARCHAR(64) NOT NULL, 
	template_sha256 VARCHAR(64) NOT NULL, 
	generation JSON NOT NULL, 
	text TEXT NOT NULL, 
	output TEXT NOT NULL, 
	confidence DOUBLE, 
	alternatives JSON NOT NULL, 
	subject VARCHAR(64), 
	seconds DOUBLE NOT NULL, 
	PRIMARY KEY (sequence), 
	UNIQUE (request_id)
);
INSERT INTO "answers" VALUES(1,'request-0',1800000001.0,'library','banyan-library',1,'0000000000000000000000000000000000000000000000000000000000000001','7777777777777777777777777777777777777777777777777777777777777777','{"max_length_tokens": 64}','text number 0','sympy',0.5,'[["sympy", 0.5]]','4069a7ed6b8cc47d791272cf7d1cda95',0.0);
INSERT INTO "answers" VALUES(2,'request-1',1800000002.0,'library','banyan-library',1,'0000000000000000000000000000000000000000000000000000000000000001','7777777777777777777777777777777777777777777777777777777777777777','{"max_length_tokens": 64}','text number 1','sympy',0.5,'[["sympy", 0.5]]','4069a7ed6b8cc47d791272cf7d1cda95',0.0);
INSERT INTO "answers" VALUES(3,'request-2',1800000003.0,'library','banyan-library',1,'0000000000000000000000000000000000000000000000000000000000000001','7777777777777777777777777777777777777777777777777777777777777777','{"max_length_tokens": 64}','text number 2','sympy',0.5,'[["sympy", 0.5]]','4069a7ed6b8cc47d791272cf7d1cda95',0.0);
CREATE TABLE costs (
	sequence INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	run_id VARCHAR(64) NOT NULL, 
	stage VARCHAR(64) NOT NULL, 
	subject_name VARCHAR(128) NOT NULL, 
	device VARCHAR(32) NOT NULL, 
	seconds DOUBLE NOT NULL, 
	cpu_seconds DOUBLE, 
	peak_memory_bytes BIGINT, 
	num_tokens BIGINT, 
	PRIMARY KEY (sequence), 
	UNIQUE (run_id, stage)
);
CREATE TABLE counters (
	name VARCHAR(32) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "counters" VALUES('schema',1);
INSERT INTO "counters" VALUES('feedback',2);
INSERT INTO "counters" VALUES('journal',4);
CREATE TABLE cuts (
	sequence INTEGER NOT NULL, 
	table_name VARCHAR(64) NOT NULL, 
	cut BIGINT NOT NULL, 
	at DOUBLE NOT NULL, 
	outcome VARCHAR(32) NOT NULL, 
	model_name VARCHAR(128) NOT NULL, 
	model_version INTEGER NOT NULL, 
	PRIMARY KEY (sequence), 
	UNIQUE (table_name, cut)
);
CREATE TABLE fates (
	sequence INTEGER NOT NULL, 
	feedback_id VARCHAR(64) NOT NULL, 
	at DOUBLE NOT NULL, 
	fate VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	data_version VARCHAR(64) NOT NULL, 
	model_name VARCHAR(128) NOT NULL, 
	model_version INTEGER NOT NULL, 
	effect JSON, 
	PRIMARY KEY (sequence), 
	UNIQUE (feedback_id, fate, reason, data_version, model_name, model_version), 
	FOREIGN KEY(feedback_id) REFERENCES feedback (feedback_id)
);
INSERT INTO "fates" VALUES(1,'feedback-0',1800000003.0,'received','','','',0,NULL);
INSERT INTO "fates" VALUES(2,'feedback-1',1800000003.0,'received','','','',0,NULL);
INSERT INTO "fates" VALUES(3,'feedback-0',1800000003.0,'admitted','','dddddddddddddddddddddddddddddddd','',0,NULL);
CREATE TABLE feedback (
	sequence BIGINT NOT NULL, 
	feedback_id VARCHAR(64) NOT NULL, 
	request_id VARCHAR(64) NOT NULL, 
	at DOUBLE NOT NULL, 
	table_name VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	correction TEXT, 
	comment TEXT, 
	subject VARCHAR(64), 
	channel VARCHAR(64) NOT NULL, 
	content_sha256 VARCHAR(64) NOT NULL, 
	PRIMARY KEY (sequence), 
	UNIQUE (feedback_id), 
	FOREIGN KEY(request_id) REFERENCES answers (request_id)
);
INSERT INTO "feedback" VALUES(1,'feedback-0','request-0',1800000003.0,'library','correct','networkx',NULL,NULL,'api','99c7fdd7d7f29064a9fff9abc8fdc819d0c8f738686454e93d799170734786db');
INSERT INTO "feedback" VALUES(2,'feedback-1','request-1',1800000003.0,'library','approve',NULL,NULL,NULL,'api','80ec232429610704abfcec25f31f2654ac8e0061b6461d6628cc5f991fdae3f6');
CREATE TABLE journal (
	sequence BIGINT NOT NULL, 
	previous VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	entry TEXT NOT NULL, 
	PRIMARY KEY (sequence), 
	UNIQUE (hash)
);
INSERT INTO "journal" VALUES(1,'0000000000000000000000000000000000000000000000000000000000000000','4526073b9755ebcbd015df090a46720d4870cc468b441fc54a2999918d1464c7','{"action": "promote", "actor": "gate", "alias": "champion", "at": 1800000003.0, "evidence": {"p": 0.01}, "from_version": null, "move_id": "cd3a81770bbf461c8f745b95767e7828", "name": "banyan-library", "note": "", "state": "intended", "to_version": 1, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000001"}');
INSERT INTO "journal" VALUES(2,'4526073b9755ebcbd015df090a46720d4870cc468b441fc54a2999918d1464c7','26185a0ea173398dc80ea2bd2a88d2d00f595ce9f63a44f41ed41af8f33d1e88','{"action": "promote", "actor": "gate", "alias": "champion", "at": 1800000003.0, "evidence": {"p": 0.01}, "from_version": null, "move_id": "cd3a81770bbf461c8f745b95767e7828", "name": "banyan-library", "note": "", "state": "done", "to_version": 1, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000001"}');
INSERT INTO "journal" VALUES(3,'26185a0ea173398dc80ea2bd2a88d2d00f595ce9f63a44f41ed41af8f33d1e88','2641686a2f3b9d69f3aba6a9aa2e083f400599cc9e13fbd4db3801a5c17199d7','{"action": "promote", "actor": "gate", "alias": "champion", "at": 1800000003.0, "evidence": {"p": 0.02}, "from_version": 1, "move_id": "07e17435a89d42f1bb8869770a72b03c", "name": "banyan-library", "note": "", "state": "intended", "to_version": 2, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000002"}');
INSERT INTO "journal" VALUES(4,'2641686a2f3b9d69f3aba6a9aa2e083f400599cc9e13fbd4db3801a5c17199d7','254b350de64f62f617bdad6656f6cf7a1c3df06ddbbb612fe3745e6908987ace','{"action": "promote", "actor": "gate", "alias": "champion", "at": 1800000003.0, "evidence": {"p": 0.02}, "from_version": 1, "move_id": "07e17435a89d42f1bb8869770a72b03c", "name": "banyan-library", "note": "", "state": "done", "to_version": 2, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000002"}');
CREATE TABLE leases (
	name VARCHAR(128) NOT NULL, 
	holder VARCHAR(128) NOT NULL, 
	until DOUBLE NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE outbox (
	sequence INTEGER NOT NULL, 
	event_id VARCHAR(64) NOT NULL, 
	at DOUBLE NOT NULL, 
	event VARCHAR(64) NOT NULL, 
	resource JSON NOT NULL, 
	payload JSON NOT NULL, 
	delivered_at DOUBLE, 
	num_attempts INTEGER NOT NULL, 
	next_attempt_at DOUBLE NOT NULL, 
	last_error TEXT, 
	PRIMARY KEY (sequence), 
	UNIQUE (event_id)
);
INSERT INTO "outbox" VALUES(1,'e4054b71-db26-4a7d-afe0-28e7ad09594b',1800000003.0,'banyan.feedback.received','{"prefect.resource.id": "banyan.feedback.feedback-0", "banyan.table": "library"}','{"sequence": 1, "kind": "correct", "channel": "api"}',NULL,0,1800000003.0,NULL);
INSERT INTO "outbox" VALUES(2,'6ecc0da1-573c-465f-9951-35e59bb84409',1800000003.0,'banyan.feedback.received','{"prefect.resource.id": "banyan.feedback.feedback-1", "banyan.table": "library"}','{"sequence": 2, "kind": "approve", "channel": "api"}',NULL,0,1800000003.0,NULL);
INSERT INTO "outbox" VALUES(3,'b47500c9-251a-4a91-886c-1599c92b8534',1800000003.0,'banyan.model.promoted','{"prefect.resource.id": "banyan.model.banyan-library"}','{"move_id": "cd3a81770bbf461c8f745b95767e7828", "action": "promote", "name": "banyan-library", "alias": "champion", "from_version": null, "to_version": 1, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000001", "actor": "gate", "evidence": {"p": 0.01}, "note": "", "state": "done"}',NULL,0,1800000003.0,NULL);
INSERT INTO "outbox" VALUES(4,'2665fdde-51cf-40bc-bc2b-dbefad7a41d8',1800000003.0,'banyan.model.promoted','{"prefect.resource.id": "banyan.model.banyan-library"}','{"move_id": "07e17435a89d42f1bb8869770a72b03c", "action": "promote", "name": "banyan-library", "alias": "champion", "from_version": 1, "to_version": 2, "weights_sha256": "0000000000000000000000000000000000000000000000000000000000000002", "actor": "gate", "evidence": {"p": 0.02}, "note": "", "state": "done"}',NULL,0,1800000003.0,NULL);
CREATE TABLE raw_prompts (
	request_id VARCHAR(64) NOT NULL, 
	at DOUBLE NOT NULL, 
	text TEXT NOT NULL, 
	output TEXT NOT NULL, 
	PRIMARY KEY (request_id), 
	FOREIGN KEY(request_id) REFERENCES answers (request_id) ON DELETE CASCADE
);
INSERT INTO "raw_prompts" VALUES('request-0',1800000001.0,'text number 0','sympy');
INSERT INTO "raw_prompts" VALUES('request-1',1800000002.0,'text number 1','sympy');
INSERT INTO "raw_prompts" VALUES('request-2',1800000003.0,'text number 2','sympy');
CREATE TABLE verdicts (
	sequence INTEGER NOT NULL, 
	at DOUBLE NOT NULL, 
	model_name VARCHAR(128) NOT NULL, 
	model_version INTEGER NOT NULL, 
	against VARCHAR(16) NOT NULL, 
	against_version INTEGER NOT NULL, 
	metric VARCHAR(32) NOT NULL, 
	verdict VARCHAR(16) NOT NULL, 
	difference DOUBLE NOT NULL, 
	low DOUBLE NOT NULL, 
	high DOUBLE NOT NULL, 
	p_value DOUBLE, 
	num_examples INTEGER NOT NULL, 
	num_more_needed INTEGER, 
	data_version VARCHAR(64) NOT NULL, 
	policy JSON NOT NULL, 
	PRIMARY KEY (sequence), 
	UNIQUE (model_name, model_version, against, against_version, metric, data_version)
);
CREATE INDEX answers_by_table ON answers (table_name, sequence);
CREATE INDEX answers_by_subject ON answers (subject);
CREATE INDEX outbox_due ON outbox (delivered_at, next_attempt_at);
CREATE INDEX ix_raw_prompts_at ON raw_prompts (at);
CREATE INDEX feedback_by_subject ON feedback (subject);
CREATE INDEX ix_feedback_request_id ON feedback (request_id);
CREATE INDEX feedback_by_table ON feedback (table_name, sequence);
CREATE INDEX fates_by_feedback ON fates (feedback_id, sequence);
COMMIT;
