#include "formats/config.h"
#include "formats/outfile.h"
#include "tests/bench/models.h"
#include "tests/unit/test.h"

static vq_config c;

static vq_status parse(const char *text)
{
	vq_config_defaults(&c);
	return vq_config_parse(&c, text, "a.json");
}

/* text is refused with code, and the message has every part of parts ('|'-separated). */
static bool refused(const char *text, vq_status code, const char *parts)
{
	vq_config before;
	vq_config_defaults(&before);
	if (parse(text) != code || memcmp(&before, &c, sizeof c) || strchr(vq_message(), '\n'))
		return false;
	char copy[512], *save = NULL;
	snprintf(copy, sizeof copy, "%s", parts);
	for (char *p = strtok_r(copy, "|", &save); p; p = strtok_r(NULL, "|", &save))
		if (!strstr(vq_message(), p))
			return false;
	return true;
}
#define CHECK_REFUSED(text, code, parts) do { if (!refused(text, code, parts)) \
	TEST_END(1, "%s:%d: %.200s: \"%s\", not \"%s\"", __FILE__, __LINE__, text, vq_message(), parts); } while (0)

TEST(every_preset_is_in_range)
{
	memset(&c, 0, sizeof c);
	for (const vq_config_key *k = vq_config_keys; k->name; k++) {
		if (k->type == VQ_KEY_GROUP)
			continue;
		CHECK_OK(vq_config_put(&c, k, k->preset));
		CHECK(k->help && strlen(k->help) > 10 && k->help[strlen(k->help) - 1] == '.');
		CHECK(vq_config_find(k->name) == k); /* no name twice */
	}
	CHECK_OK(vq_config_check(&c));
}

TEST(the_models_that_are_timed_are_those_of_the_files)
{
	static const struct { const char *path; const char *const *set; } models[] = { { "configs/peer.json", bench_peer }, { "configs/improved.json", bench_improved } };
	for (size_t i = 0; i < VQ_COUNT(models); i++) {
		vq_config file;
		vq_config_defaults(&file);
		vq_config_defaults(&c);
		CHECK_OK(vq_config_read(&file, models[i].path));
		for (const char *const *set = models[i].set; *set; set++)
			CHECK_OK(vq_config_set(&c, *set));
		for (const vq_config_key *k = vq_config_keys; k->name; k++) {
			if (k->type == VQ_KEY_GROUP)
				continue;
			char *want = vq_config_get(&file, k), *got = vq_config_get(&c, k);
			if (!want || !got || strcmp(got, want))
				TEST_END(1, "%s: %s is %s, not %s", models[i].path, k->name, got, want);
			free(want);
			free(got);
		}
	}
}

TEST(every_key_is_read_from_json_and_set)
{
	int n = 0;
	for (const vq_config_key *k = vq_config_keys; k->name; k++) {
		char text[64], value[64], pair[160];
		const char *v = "";
		switch (k->type) {
		case VQ_KEY_GROUP: continue;
		case VQ_KEY_BOOL: v = !strcmp(k->preset, "true") ? "false" : "true"; break;
		case VQ_KEY_TEXT: v = "\"some text\""; break;
		case VQ_KEY_INTS: v = "[3, 4]"; break;
		case VQ_KEY_REALS: v = "[3, 4]"; break;
		case VQ_KEY_CHOICE: { /* the last, or the first where the last is the preset */
			const char *last = strrchr(k->choices, '|') + 1;
			if (strcmp(last, k->preset))
				snprintf(text, sizeof text, "\"%s\"", last);
			else
				snprintf(text, sizeof text, "\"%.*s\"", (int)strcspn(k->choices, "|"), k->choices);
			break;
		}
		default: snprintf(text, sizeof text, "%.17g", strtod(k->preset, NULL) == k->hi ? k->lo : k->hi); break;
		}
		snprintf(value, sizeof value, "%s", *v ? v : text);
		vq_config d, e, f;
		vq_config_defaults(&d);
		e = f = d;
		snprintf(pair, sizeof pair, "{\"%s\": %s}", k->name, value);
		CHECK_OK(vq_config_parse(&e, pair, "a.json"));
		CHECK(memcmp(&d, &e, sizeof d));
		snprintf(pair, sizeof pair, "%s=%s", k->name, value);
		CHECK_OK(vq_config_set(&f, pair));
		CHECK(!memcmp(&e, &f, sizeof e));
		n++;
	}
	CHECK(n > 80);
}

TEST(values_land_where_they_belong)
{
	CHECK_OK(parse("{\"model\":\"improved\",\"levels\":3,\"channels_per_level\":[8,16,24],\"learning_rate\":2.5e-4,\"skip\":\"quantized\","
	               "\"attention\":true,\"perceptual_file\":\"a b.safetensors\",\"seed\":9007199254740991,\"normalize_percentiles\":[0.1,99.9]}"));
	CHECK(c.model == VQ_MODEL_IMPROVED && c.levels == 3 && c.channels_per_level.n == 3 && c.channels_per_level.v[2] == 24);
	CHECK(c.learning_rate == 2.5e-4 && c.skip == VQ_SKIP_QUANTIZED && c.attention && c.seed == 9007199254740991);
	CHECK_STR(c.perceptual_file, "a b.safetensors");
	CHECK(c.normalize_percentiles.v[0] == 0.1 && c.normalize_percentiles.v[1] == 99.9);
	CHECK(c.batch_size == 0 && c.pixels_per_step == 32768); /* defaults stay */
	char buf[32];
	CHECK_STR(vq_config_name("skip", c.skip, buf), "quantized");
	CHECK_STR(vq_config_name("skip", 7, buf), "?");
}

TEST(comments_are_blanks_but_not_in_text)
{
	CHECK_OK(parse("// first\n{ /* two\nlines */ \"epochs\": /**/ 7, // last\n \"save_directory\": \"http://a/*b*/\\\"//c\" }\n//end"));
	CHECK(c.epochs == 7);
	CHECK_STR(c.save_directory, "http://a/*b*/\"//c");
	CHECK_OK(parse("{}"));
	CHECK_OK(parse("\xef\xbb\xbf{\"$schema\": \"schema.json\", \"levels\": 2}"));
}

TEST(bad_json_names_file_and_line)
{
	CHECK_REFUSED("{\n\"epochs\": 3,\n\"levels\" 2\n}", VQ_EFORMAT, "a.json|line 3");
	CHECK_REFUSED("{\n/* no end\n", VQ_EFORMAT, "a.json|line 2|comment");
	CHECK_REFUSED("[1]", VQ_EFORMAT, "a.json|object");
	CHECK_REFUSED("", VQ_EFORMAT, "a.json");
	CHECK_REFUSED("{\"epochs\": 3} x", VQ_EFORMAT, "a.json");
	CHECK_REFUSED("{\"epochs\": 3,}", VQ_EFORMAT, "a.json");
	CHECK_REFUSED("{\"save_directory\": \"no end}", VQ_EFORMAT, "a.json");
	CHECK_REFUSED("{\"save_directory\": \"no end\\", VQ_EFORMAT, "a.json");
}

TEST(unknown_keys_name_the_nearest)
{
	CHECK_REFUSED("{\"lerning_rate\": 1}", VQ_EINVAL, "a.json|\"lerning_rate\"|nearest|learning_rate");
	CHECK_REFUSED("{\"Epochs\": 1}", VQ_EINVAL, "epochs");
	CHECK_REFUSED("{\"commitement_cost\": 1}", VQ_EINVAL, "commitment_cost");
	CHECK_REFUSED("{\"a\\nb\": 1}", VQ_EINVAL, "unknown key");
	CHECK_REFUSED("{\"Model\": 1}", VQ_EINVAL, "model"); /* a heading is no key */
	vq_config_defaults(&c);
	CHECK_FAILS(vq_config_set(&c, "epoch=1"), VQ_EINVAL);
	CHECK_HAS(vq_message(), "epochs");
	CHECK_FAILS(vq_config_set(&c, "epochs"), VQ_EINVAL);
	CHECK_HAS(vq_message(), "KEY=VALUE");
}

TEST(bad_values_name_their_range)
{
	CHECK_REFUSED("{\"learning_rate\": 11}", VQ_EINVAL, "a.json|learning_rate|11|1e-09 to 10");
	CHECK_REFUSED("{\"learning_rate\": 0}", VQ_EINVAL, "learning_rate");
	CHECK_REFUSED("{\"learning_rate\": 1e999}", VQ_EINVAL, "learning_rate");
	CHECK_REFUSED("{\"learning_rate\": \"0.1\"}", VQ_EINVAL, "learning_rate");
	CHECK_REFUSED("{\"learning_rate\": null}", VQ_EINVAL, "learning_rate|null");
	CHECK_REFUSED("{\"levels\": 2.5}", VQ_EINVAL, "levels|2.5|an integer, 1 to 5");
	CHECK_REFUSED("{\"levels\": 6}", VQ_EINVAL, "levels|1 to 5");
	CHECK_REFUSED("{\"stem_kernel\": 4}", VQ_EINVAL, "stem_kernel|3, 5 or 7");
	CHECK_REFUSED("{\"activation\": \"rleu\"}", VQ_EINVAL, "activation|rleu|relu, leaky_relu, silu or gelu");
	CHECK_REFUSED("{\"activation\": \"relu|silu\"}", VQ_EINVAL, "activation");
	CHECK_REFUSED("{\"activation\": \"\"}", VQ_EINVAL, "activation");
	CHECK_REFUSED("{\"attention\": 1}", VQ_EINVAL, "attention|true or false");
	CHECK_REFUSED("{\"channels_per_level\": []}", VQ_EINVAL, "channels_per_level|1 to 5 integers");
	CHECK_REFUSED("{\"channels_per_level\": [1,2,3,4,5,6]}", VQ_EINVAL, "channels_per_level");
	CHECK_REFUSED("{\"channels_per_level\": [1,0]}", VQ_EINVAL, "channels_per_level");
	CHECK_REFUSED("{\"channels_per_level\": [1,\"2\"]}", VQ_EINVAL, "channels_per_level");
	CHECK_REFUSED("{\"channels_per_level\": [1,[2]]}", VQ_EINVAL, "channels_per_level");
	CHECK_REFUSED("{\"normalize_percentiles\": [5]}", VQ_EINVAL, "normalize_percentiles|2 numbers, each 0 to 100");
	CHECK_REFUSED("{\"epochs\": 3, \"epochs\": 4}", VQ_EINVAL, "epochs|twice");
	char text[2100];
	snprintf(text, sizeof text, "{\"save_directory\": \"%01100d\"}", 0);
	CHECK_REFUSED(text, VQ_EINVAL, "save_directory|at most 1023 bytes");
}

TEST(lists_and_quotes_in_set)
{
	vq_config_defaults(&c);
	CHECK_OK(vq_config_set(&c, "channels_per_level=16, 32,64"));
	CHECK(c.channels_per_level.n == 3 && c.channels_per_level.v[0] == 16 && c.channels_per_level.v[2] == 64);
	CHECK_OK(vq_config_set(&c, "channels_per_level=[ 8 ]"));
	CHECK(c.channels_per_level.n == 1 && c.channels_per_level.v[0] == 8 && c.channels_per_level.v[1] == 0);
	CHECK_OK(vq_config_set(&c, "hidden=[]"));
	CHECK_OK(vq_config_set(&c, "perceptual_taps="));
	CHECK(c.hidden.n == 0 && c.perceptual_taps.n == 0);
	CHECK_FAILS(vq_config_set(&c, "channels_per_level=8,,9"), VQ_EINVAL);
	CHECK_FAILS(vq_config_set(&c, "channels_per_level=8,"), VQ_EINVAL);
	CHECK_FAILS(vq_config_set(&c, "channels_per_level=[8"), VQ_EINVAL);
	CHECK_FAILS(vq_config_set(&c, "channels_per_level=["), VQ_EINVAL);
	CHECK_FAILS(vq_config_set(&c, "channels_per_level="), VQ_EINVAL);
	CHECK_FAILS(vq_config_set(&c, "learning_rate= 1"), VQ_EINVAL);
	CHECK_FAILS(vq_config_set(&c, "learning_rate=nan"), VQ_EINVAL);
	CHECK_FAILS(vq_config_set(&c, "learning_rate=0x1"), VQ_EINVAL);
	CHECK_OK(vq_config_set(&c, "save_directory=a=\"b\""));
	CHECK_STR(c.save_directory, "a=\"b\"");
	CHECK_OK(vq_config_set(&c, "activation=\"silu\""));
	CHECK(c.activation == VQ_ACT_SILU);
}

TEST(keys_that_do_not_fit_together)
{
	vq_config_defaults(&c);
	CHECK_OK(vq_config_set(&c, "levels=3"));
	CHECK_FAILS(vq_config_check(&c), VQ_EINVAL);
	CHECK_HAS(vq_message(), "channels_per_level has 2");
	vq_config_defaults(&c);
	CHECK_OK(vq_config_set(&c, "pixels_per_step=0"));
	CHECK_FAILS(vq_config_check(&c), VQ_EINVAL);
	vq_config_defaults(&c);
	CHECK_OK(vq_config_set(&c, "epochs=0"));
	CHECK_FAILS(vq_config_check(&c), VQ_EINVAL);
	CHECK_OK(vq_config_set(&c, "max_seconds=1"));
	CHECK_OK(vq_config_check(&c));
}

TEST(resolved_json_reads_back)
{
	vq_buf b = { 0 };
	vq_config d;
	CHECK_OK(parse("{\"learning_rate\":0.00012345678901234567,\"save_directory\":\"a\\\"b\\\\c\\td\",\"hidden\":[],\"seed\":123456789012345}"));
	CHECK_OK(vq_config_json(&c, &b));
	vq_config_defaults(&d);
	CHECK_OK(vq_config_parse(&d, b.data, "b.json"));
	CHECK(!memcmp(&c, &d, sizeof c));
	for (const vq_config_key *k = vq_config_keys; k->name; k++) {
		char name[80];
		snprintf(name, sizeof name, "\n  \"%s\": ", k->name);
		if (k->type != VQ_KEY_GROUP)
			CHECK_HAS(b.data, name);
	}
	CHECK_HAS(b.data, "\"seed\": 123456789012345,\n");
	vq_buf_free(&b);
}

static bool same_ints(const vq_ints *list, int n, const int *v) { return list->n == n && !memcmp(list->v, v, sizeof *v * (size_t)n); }

TEST(our_config_files_are_good)
{
	vq_config d;
	vq_config_defaults(&d);
	c = d;
	CHECK_OK(vq_config_read(&c, "configs/cells.json"));
	CHECK_OK(vq_config_check(&c));
	CHECK(!memcmp(&c, &d, sizeof c)); /* the built-in config is this file */
	c = d;
	CHECK_OK(vq_config_read(&c, "configs/peer.json"));
	CHECK_OK(vq_config_check(&c));
	CHECK(c.model == VQ_MODEL_CODES && c.num_embeddings == 512 && c.embedding_dim == 64 && c.beta2 == 0.99 && c.max_seconds == 120);
	c = d;
	CHECK_OK(vq_config_read(&c, "configs/improved.json"));
	CHECK_OK(vq_config_check(&c));
	/* the document's values, each of them */
	CHECK(c.model == VQ_MODEL_IMPROVED && c.latent == VQ_LATENT_GLOBAL && c.skip == VQ_SKIP_FEATURES && c.levels == 4 && c.stem_stride == 2 && c.attention);
	CHECK(same_ints(&c.channels_per_level, 4, (int[]){ 32, 64, 128, 256 }));
	CHECK(c.activation == VQ_ACT_RELU && c.optimizer == VQ_OPT_ADAMW && c.embedding_dim == 256 && c.num_embeddings == 512 && c.batch_size == 16 && c.epochs == 100);
	CHECK(c.learning_rate == 1e-4 && c.weight_decay == 1e-4 && c.commitment_cost == .5 && c.reconstruction_loss_weight == 2 && c.gradient_clip_norm == .5);
	CHECK(c.use_perceptual_loss && c.perceptual_loss_weight == .1 && c.perceptual_net == VQ_NET_VGG19 && c.perceptual_scales == 1 && !*c.perceptual_file);
	CHECK(same_ints(&c.perceptual_taps, 5, (int[]){ 0, 5, 10, 19, 28 }));
	CHECK(c.content_weighting && c.foreground_weight == 1 && c.background_weight == .1);
	CHECK(c.normalize_method == VQ_CONFIG_NORM_ROBUST && c.normalize_percentiles.n == 2 && c.normalize_percentiles.v[0] == 5 && c.normalize_percentiles.v[1] == 95);
	CHECK(c.pad_mode == VQ_CONFIG_PAD_REFLECT && c.use_scheduler && c.scheduler_type == VQ_SCHED_COSINE && c.use_early_stopping && c.early_stopping_patience == 15);
	CHECK(c.codebook_start == VQ_START_NORMAL && c.codebook_update == VQ_UPDATE_EMA && c.ema_decay == .99 && c.revive_threshold > 0 && c.straight_through);
	CHECK(c.mixed_precision == VQ_PRECISION_OFF && !c.pack && c.accumulate == 1);
	c = d;
	CHECK_OK(vq_config_read(&c, "configs/original.json"));
	CHECK_OK(vq_config_check(&c));
	CHECK(c.model == VQ_MODEL_ORIGINAL && c.latent == VQ_LATENT_GLOBAL && c.skip == VQ_SKIP_NONE && c.levels == 5 && c.stem_stride == 3 && !c.attention);
	CHECK(same_ints(&c.channels_per_level, 5, (int[]){ 8, 16, 24, 32, 64 }));
	CHECK(!c.straight_through && c.codebook_start == VQ_START_UNIFORM && c.codebook_update == VQ_UPDATE_GRADIENT && c.revive_threshold == 0);
	CHECK(c.num_embeddings == 1024 && c.embedding_dim == 512 && c.commitment_cost == .25 && c.reconstruction_loss_weight == 1 && !c.use_perceptual_loss);
	CHECK(c.optimizer == VQ_OPT_ADAM && c.learning_rate == 1e-3 && c.gradient_clip_norm == 0 && !c.use_scheduler && !c.use_early_stopping);
	CHECK(c.normalize_method == VQ_CONFIG_NORM_NONE && c.pad_mode == VQ_CONFIG_PAD_ZERO && c.pad_multiple == 0);
	CHECK_FAILS(vq_config_read(&c, "configs/none.json"), VQ_EIO);
	CHECK_HAS(vq_message(), "configs/none.json");
}

/* The file at path is head + want + tail, or becomes so when VQ_UPDATE is set. */
static vq_status in_step(const char *path, const char *head, const char *tail, const char *want)
{
	vq_buf b = { 0 }, now = { 0 };
	vq_status s = vq_file_read(path, 1 << 20, &b);
	const char *from = b.data, *to = b.data ? b.data + b.len : NULL;
	if (s == VQ_OK && head) {
		from = strstr(b.data, head);
		to = from ? strstr(from, tail) : NULL;
		s = to ? VQ_OK : vq_fail(VQ_EFORMAT, "%s: lacks its markers", path);
		from += to ? strlen(head) : 0;
	}
	if (s == VQ_OK || (!head && getenv("VQ_UPDATE"))) {
		s = b.data ? vq_buf_add(&now, b.data, (size_t)(from - b.data)) : VQ_OK;
		s = s < 0 ? s : vq_buf_str(&now, want);
		s = s < 0 ? s : vq_buf_str(&now, to ? to : "");
		if (s == VQ_OK && (now.len != b.len || memcmp(now.data, b.data, b.len)))
			s = getenv("VQ_UPDATE") ? vq_out_write(path, now.data, now.len)
			                        : vq_fail(VQ_EFORMAT, "%s: out of step with the key table; tests/config-docs BUILD writes it anew", path);
	}
	vq_buf_free(&b);
	vq_buf_free(&now);
	return s;
}

TEST(schema_is_in_step)
{
	vq_buf b = { 0 };
	CHECK_OK(vq_config_schema(&b));
	CHECK_OK(in_step("configs/schema.json", NULL, NULL, b.data));
	vq_buf_free(&b);
}

TEST(manual_page_is_in_step)
{
	vq_buf b = { 0 };
	CHECK_OK(vq_config_roff(&b));
	CHECK_OK(in_step("man/vq-config.5", ".\\\" keys begin\n", ".\\\" keys end\n", b.data));
	vq_buf_free(&b);
}

TEST_MAIN(
	RUN(every_preset_is_in_range)
	RUN(the_models_that_are_timed_are_those_of_the_files)
	RUN(every_key_is_read_from_json_and_set)
	RUN(values_land_where_they_belong)
	RUN(comments_are_blanks_but_not_in_text)
	RUN(bad_json_names_file_and_line)
	RUN(unknown_keys_name_the_nearest)
	RUN(bad_values_name_their_range)
	RUN(lists_and_quotes_in_set)
	RUN(keys_that_do_not_fit_together)
	RUN(resolved_json_reads_back)
	RUN(our_config_files_are_good)
	RUN(schema_is_in_step)
	RUN(manual_page_is_in_step)
)
