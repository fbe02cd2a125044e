/*
 * secret.c
 *		Keeps the password of redis_url out of the server log.
 *
 * On reload the postmaster logs every changed setting with its new value, and
 * no flag of a setting prevents that.  A hook on the log takes this one message
 * out and says the same without the value.  (A hook may switch a message off;
 * changing it is not supported.)  Set in the postmaster, so that every process
 * of the server has it; takes no locks.
 *
 * What it cannot keep out: the text of an ALTER SYSTEM command where
 * log_statement is on.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "online/pusher.h"

#define SETTING		"\"" FE_EXTENSION_NAME ".redis_url\""

static emit_log_hook_type prev_emit_log_hook = NULL;

static void
hide_secret(ErrorData *edata)
{
	/* the format is what ProcessConfigFile uses; message may be a translation */
	if (edata->message_id != NULL && edata->message != NULL &&
		strcmp(edata->message_id, "parameter \"%s\" changed to \"%s\"") == 0 &&
		strstr(edata->message, SETTING) != NULL)
	{
		edata->output_to_server = false;
		ereport(edata->elevel, (errmsg("parameter %s changed", SETTING)));
		return;
	}
	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
}

void
fe_secret_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = hide_secret;
}
