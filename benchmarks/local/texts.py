"""Texts of many kinds that a model has to predict, and prompts that it has to answer."""

from __future__ import annotations

TEXTS = (
    "The ferry leaves the northern pier twice a day, at seven in the morning and again shortly "
    "after noon. In winter the second crossing depends on the wind. Passengers who arrive with a "
    "bicycle pay nothing extra, but they have to carry it down the narrow stairs themselves, since "
    "the ramp is kept free for the two cars that the ship can take.",
    "Bread dough rises because yeast eats sugar and gives off carbon dioxide. The gas is caught in "
    "a net of gluten, which forms when flour is wetted and kneaded. A warm kitchen makes the yeast "
    "quicker, while a night in the refrigerator slows it down and gives the loaf more flavour. Too "
    "much heat kills it altogether, and the bread stays flat.",
    "My grandmother kept her letters in a biscuit tin under the bed. After the funeral we sat on "
    "the floor and read them aloud, one after another, until it grew dark. Most of them were about "
    "the weather, the price of coal, and whether the hens were laying. Only the last one mentioned "
    "the man whose photograph she had carried in her purse for sixty years.",
    "Photosynthesis takes place in the chloroplasts of plant cells. In the first stage, light is "
    "absorbed by chlorophyll and its energy splits water into oxygen, protons and electrons. In "
    "the second stage, known as the Calvin cycle, carbon dioxide is fixed and turned into sugar. "
    "The oxygen that we breathe is a by-product of the first stage.",
    "To change a tyre, park on level ground and pull the hand brake. Loosen the nuts a quarter of "
    "a turn before you raise the car, because the wheel would spin once it is in the air. Put the "
    "jack under the marked point of the frame, lift, take off the nuts, and swap the wheels. "
    "Tighten the nuts crosswise, lower the car, and tighten them again.",
    "The committee met on Tuesday to discuss the budget for the coming year. Three members asked "
    "for a larger share for road repairs, while two argued that the library had been neglected. "
    "After an hour of debate the chair proposed a compromise: the library would be open on "
    "Saturdays, and the roads would be surveyed before any money was spent on them.",
    "In mathematics, a prime number is a natural number greater than one that has no divisors "
    "other than one and itself. Euclid proved that there are infinitely many of them: multiply any "
    "finite list of primes and add one, and the result has a prime factor that isn't on the list. "
    "The first few primes are 2, 3, 5, 7, 11, 13, 17, 19, 23 and 29.",
    '"You are late," said the clockmaker without looking up. "The bridge was closed," answered the '
    'boy, and put the parcel on the bench. "It is always closed on Fridays. You might have thought '
    'of that before you left." The boy said nothing. He had thought of it, and he had gone by the '
    "river all the same, because the girl with the red scarf sold apples there.",
    "Rome was not built in a day, and neither was its water supply. The first aqueduct, finished "
    "in 312 BC, ran mostly underground. Over the next five hundred years ten more were added. At "
    "the height of the empire they brought the city about a million cubic metres of water a day, "
    "for baths, fountains, mills and private houses.",
    "Dear Mr. Hughes, thank you for your order of 14 March. Unfortunately the blue model is out of "
    "stock until the end of the month. We can send you the grey one at once, or keep your order "
    "and deliver as soon as the blue one is here. Please let us know which you prefer. We "
    "apologise for the inconvenience. Kind regards, the customer service team.",
    "A heart attack happens when the flow of blood to a part of the heart muscle is blocked. "
    "Typical signs are pressure or pain in the chest, often spreading to the left arm, the neck or "
    "the jaw, along with shortness of breath and cold sweat. Women and older people may have less "
    "obvious signs. Call the emergency number at once; every minute counts.",
    "The market opened lower on Monday after figures showed that prices had risen faster than "
    "expected. Shares of banks lost about two percent, while producers of energy gained slightly. "
    "Analysts said that the central bank was now less likely to cut its rate before autumn. The "
    "currency was little changed against the dollar.",
    "Once upon a time there was a miller who had three sons, a mill, a donkey and a cat. When he "
    "died, the eldest got the mill, the second the donkey, and for the youngest nothing was left "
    "but the cat. He sat by the road and wept. But the cat said: buy me a pair of boots, and you "
    "shall see that you have not done so badly after all.",
    "Sound travels through air at about 343 metres per second at room temperature. In water it is "
    "more than four times as fast, and in steel about fifteen times. That is why a swimmer hears a "
    "distant boat before somebody on the beach does. In a vacuum there is nothing to carry the "
    "waves, so there is no sound at all.",
    "The novel begins with a funeral and ends with a wedding, and in between almost nothing "
    "happens. Yet it is hard to put down. The author has an ear for the way people talk when they "
    "are avoiding a subject, and her descriptions of the marshes are as precise as a painter's. "
    "Some readers will find the middle part slow; I wished that it were longer.",
    "Before you plant tomatoes outside, get them used to the sun. Put the pots in a sheltered "
    "place for an hour on the first day and a little longer on each that follows. After a week "
    "they can stay out overnight if there is no frost. Dig a deep hole, remove the lowest leaves, "
    "and bury the stem up to the next ones, for it will grow roots there.",
    "The experiment was carried out with forty volunteers between the ages of twenty and thirty. "
    "Each was shown a list of words for two minutes and asked to recall as many as possible after "
    "a break. Those who had slept remembered on average eleven words, those who had stayed awake "
    "only seven. The difference was statistically significant (p < 0.01).",
    "Chess is played on a board of sixty-four squares by two players with sixteen pieces each. The "
    "aim is to attack the opponent's king in such a way that it can't escape, which is called "
    "checkmate. If a player who is to move has no legal move and the king isn't attacked, the game "
    "is a draw. White always begins.",
    "Die Bäckerei an der Ecke öffnet um sechs Uhr, aber schon vorher riecht die ganze Straße nach "
    "frischem Brot. Am Samstag steht die Schlange bis zur Ampel. Wer klug ist, bestellt am Tag "
    "davor und geht durch die Seitentür hinein. Die Verkäuferin kennt alle Kunden beim Namen und "
    "fragt jeden, wie es den Kindern geht.",
    "Der Mond umkreist die Erde in etwa siebenundzwanzig Tagen. Weil er sich in derselben Zeit "
    "einmal um sich selbst dreht, sehen wir immer die gleiche Seite. Die Gezeiten entstehen durch "
    "seine Anziehungskraft: Das Wasser hebt sich auf der Seite, die ihm zugewandt ist, und auf der "
    "gegenüberliegenden Seite ebenfalls.",
    "Le marché se tient tous les jeudis sur la place de l'église. On y trouve des légumes, du "
    "fromage, du miel et parfois des livres d'occasion. Les habitués arrivent tôt pour choisir les "
    "meilleures fraises. À midi, les marchands plient leurs tables et vont déjeuner ensemble au "
    "café du coin, où la patronne leur garde toujours une place.",
    "La Révolution française commence en 1789, quand le roi réunit les états généraux pour "
    "résoudre la crise des finances. Le tiers état se proclame Assemblée nationale et, le 14 "
    "juillet, les Parisiens prennent la Bastille. Quelques semaines plus tard, les privilèges sont "
    "abolis et les droits de l'homme sont déclarés.",
    "El agua hierve a cien grados al nivel del mar, pero en la montaña lo hace a una temperatura "
    "más baja, porque la presión del aire es menor. Por eso las legumbres tardan más en cocerse en "
    "los pueblos altos. Una olla a presión resuelve el problema: al cerrarla, el vapor no puede "
    "salir y la temperatura sube por encima de los cien grados.",
    "Mi abuelo trabajó cuarenta años en el ferrocarril. Decía que cada estación tenía su propio "
    "olor: carbón y naranjas en Valencia, pan recién hecho en Albacete, lluvia en Santander. "
    "Cuando se jubiló le regalaron un reloj, que nunca llevaba, porque según él ya no tenía prisa "
    "por llegar a ninguna parte.",
    "La biblioteca comunale è aperta dal lunedì al venerdì, dalle nove alle diciotto. Per prendere "
    "in prestito un libro basta una tessera, che è gratuita per chi abita in città. I libri si "
    "possono tenere per un mese; chi li restituisce in ritardo paga una piccola multa. Nella sala "
    "al primo piano si può studiare in silenzio.",
    "O comboio para o Porto parte às oito e um quarto da linha três. A viagem dura pouco menos de "
    "três horas e passa por Coimbra e Aveiro. Quem compra o bilhete com uma semana de antecedência "
    "paga metade do preço. A bordo há um pequeno bar onde se vende café, sandes e jornais.",
    "De fiets is in Nederland het gewoonste vervoermiddel. Kinderen leren al vroeg om in het "
    "verkeer te rijden, en bij elk station staan duizenden fietsen. Wie door de stad wil, is er "
    "meestal sneller mee dan met de auto. Alleen de wind is soms een probleem, vooral op de lange "
    "rechte wegen tussen de weilanden.",
    "def merge(left, right):\n    merged = []\n    i = j = 0\n    while i < len(left) and j < "
    "len(right):\n        if left[i] <= right[j]:\n            merged.append(left[i])\n            "
    "i += 1\n        else:\n            merged.append(right[j])\n            j += 1\n    "
    "merged.extend(left[i:])\n    merged.extend(right[j:])\n    return merged\n",
    "class Account:\n    def __init__(self, owner, balance=0):\n        self.owner = owner\n"
    "        self.balance = balance\n\n    def deposit(self, amount):\n        if amount <= 0:\n"
    "            "
    'raise ValueError("the amount must be positive")\n        self.balance += amount\n\n    def '
    "withdraw(self, amount):\n        if amount > self.balance:\n            raise "
    'ValueError("not enough money")\n        self.balance -= amount\n',
    "function debounce(callback, delay) {\n  let timer = null;\n  return function (...args) {\n    "
    "clearTimeout(timer);\n    timer = setTimeout(() => callback.apply(this, args), delay);\n  "
    "};\n}\n\nconst onResize = debounce(() => {\n  console.log(window.innerWidth);\n}, 200);\n"
    'window.addEventListener("resize", onResize);\n',
    "SELECT customers.name, COUNT(orders.id) AS number_of_orders, SUM(orders.total) AS revenue\n"
    "FROM customers\nLEFT JOIN orders ON orders.customer_id = customers.id\nWHERE "
    "orders.created_at >= '2024-01-01'\nGROUP BY customers.name\nHAVING SUM(orders.total) > 100\n"
    "ORDER BY revenue DESC\nLIMIT 10;\n",
    "#include <stdio.h>\n\nint main(void) {\n    int n = 10, a = 0, b = 1;\n"
    "    for (int i = 0; i < "
    'n; i++) {\n        printf("%d ", a);\n        int next = a + b;\n        a = b;\n        b = '
    'next;\n    }\n    printf("\\n");\n    return 0;\n}\n',
    '{"name": "weather-station", "version": "1.2.0", "sensors": [{"id": 1, "kind": '
    '"temperature", "unit": "celsius", "interval_seconds": 60}, {"id": 2, "kind": "humidity", '
    '"unit": "percent", "interval_seconds": 60}, {"id": 3, "kind": "wind", "unit": "m/s", '
    '"interval_seconds": 10}], "location": {"latitude": 52.52, "longitude": 13.405}}',
    "# Installation\n\nFirst make sure that Python 3.10 or later is installed. Then run:\n\n```\n"
    "pip install example\n```\n\n## Usage\n\nImport the package and create a client:\n\n```python\n"
    'from example import Client\n\nclient = Client(api_key="...")\nprint(client.status())\n```\n\n'
    "## Licence\n\nThis project is licensed under the MIT licence.\n",
    "Question: A shop sells pencils at 30 cents and notebooks at 2 euros. Anna buys five pencils "
    "and three notebooks and pays with a ten-euro note. How much change does she get? Answer: Five "
    "pencils cost 5 × 0.30 = 1.50 euros. Three notebooks cost 3 × 2 = 6 euros. Together that is "
    "7.50 euros, so she gets 10 − 7.50 = 2.50 euros back.",
    "Solve 2x + 6 = 20. Subtract 6 from both sides: 2x = 14. Divide both sides by 2: x = 7. Check: "
    "2 · 7 + 6 = 20, which is right. Now solve x² − 5x + 6 = 0. The left side factors into (x − "
    "2)(x − 3), so a product of two numbers is zero, and one of them must be zero. The solutions "
    "are x = 2 and x = 3.",
    "User: My printer says that it is offline, but it is switched on. What can I do?\nAssistant: "
    "First check that the printer and the computer are on the same network. Then switch the "
    "printer off, wait for ten seconds, and switch it on again. If that doesn't help, remove the "
    "printer in the settings of your computer and add it again.\nUser: That worked, thank you!\n",
    "Ingredients for four people:\n- 500 g of potatoes\n- 2 onions\n- 4 eggs\n- salt and pepper\n- "
    "3 tablespoons of olive oil\n\nPeel the potatoes and cut them into thin slices. Fry them "
    "slowly in the oil together with the onions. Beat the eggs, add the potatoes, and let the "
    "mixture set in the pan over a low heat. Turn it with the help of a plate.\n",
    "Article 4. The tenant shall pay the rent in advance, no later than the third working day of "
    "each month. If the payment is more than fourteen days late, the landlord may charge interest "
    "at the statutory rate. The deposit amounts to three monthly rents and shall be returned "
    "within six months of the end of the tenancy, less any costs of repairs.",
    "The sea was calm that night, and the lamp of the harbour drew a long yellow line across it. "
    "Somewhere a dog barked twice and was quiet. The two men in the boat didn't speak. They had "
    "rowed for three hours, and both knew that what they had come to do could still be left "
    "undone, if only one of them would say so.",
)

PROMPTS = (
    "What is the capital of France?",
    "Who wrote Romeo and Juliet?",
    "What is 12 plus 30?",
    "How many days are there in a leap year?",
    "Name three primary colours.",
    "What do bees make?",
    "Translate 'good morning' into Spanish.",
    "Which planet is closest to the sun?",
    "Explain in one sentence what photosynthesis is.",
    "Write a short poem about the sea.",
    "What is the boiling point of water?",
    "Give me a recipe for pancakes.",
    "How do I tie a tie?",
    "Write a Python function that adds two numbers.",
    "Write a Python function that reverses a string.",
    "What is the difference between a list and a tuple in Python?",
    "Summarise the plot of Cinderella.",
    "Who was Albert Einstein?",
    "What is gravity?",
    "Why is the sky blue?",
    "List five animals that live in Africa.",
    "What is the largest ocean on Earth?",
    "Give me three tips for sleeping better.",
    "How do I write a good CV?",
    "What is machine learning?",
    "Write an email to my boss asking for a day off.",
    "What is the opposite of 'cold'?",
    "Correct this sentence: 'She go to school every day.'",
    "What is a noun?",
    "How many continents are there?",
    "Tell me a joke.",
    "What is the currency of Japan?",
    "When did the Second World War end?",
    "What is a black hole?",
    "How does a refrigerator work?",
    "Suggest a name for a bakery.",
    "What should I see in Rome?",
    "Describe a rainy day in the city.",
    "What is inflation?",
    "Is a tomato a fruit or a vegetable?",
    "Write a haiku about autumn.",
    "What does HTML stand for?",
    "How do vaccines work?",
    "What is the square root of 81?",
    "Give a synonym for 'happy'.",
    "Finish the sentence: The early bird",
    "Who painted the Mona Lisa?",
    "What is a healthy breakfast?",
    "How far is the moon from the Earth?",
    "Write one sentence with the word 'harbour'.",
)
