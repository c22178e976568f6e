#!/usr/bin/env node
// The plugin: what a node of Backplane starts.
import { serve } from './plugin/serve.mjs';
import { open } from './store/transport.mjs';

await serve({ open });
