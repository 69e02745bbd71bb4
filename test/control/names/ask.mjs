/** Asks a server by Node's own resolver from where it is run: `ask.mjs SERVER KIND:NAME...`. Test support. */
import { Resolver } from 'node:dns/promises';

const [server, ...questions] = process.argv.slice(2);
const resolver = new Resolver({ timeout: 3000, tries: 3 });
resolver.setServers([server]);
const answers = [];
for (const question of questions) {
  const [kind, name] = [question.slice(0, question.indexOf(':')), question.slice(question.indexOf(':') + 1)];
  try {
    answers.push(kind === 'PTR' ? await resolver.reverse(name) : (await resolver.resolve(name, kind)).sort());
  } catch (error) {
    answers.push(error.code);
  }
}
process.stdout.write(JSON.stringify(answers));
